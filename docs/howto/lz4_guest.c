/* LZ4 in a sandbox: a bug in the decompressor stays there.
 *
 *     hyperlight guest build lz4_guest.c -o lz4_guest -l lz4
 */
#include <hyperlight.h>
#include <lz4.h>

#include <limits.h>

static int small(size_t size)
{
    if (size > INT_MAX)
        hl_fail(HL_ERROR_TOO_LARGE, "%zu bytes are too many for LZ4", size);
    return (int)size;
}

HL_EXPORT(compress, "Compress(bytes) -> bytes")
{
    struct hl_view in = hl_arg_bytes(0);
    size_t room = hl_return_room();

    if (room > LZ4_MAX_INPUT_SIZE)
        room = LZ4_MAX_INPUT_SIZE;
    char *out = hl_return_buffer(room);
    int size = LZ4_compress_default(in.data, out, small(in.size), (int)room);
    if (size <= 0)
        hl_fail(HL_ERROR_TOO_LARGE, "%zu bytes do not compress to %zu",
                in.size, room);
    hl_return_shrink((size_t)size);
}

HL_EXPORT(decompress, "Decompress(bytes, uint64) -> bytes")
{
    struct hl_view in = hl_arg_bytes(0);
    int limit = small(hl_arg_u64(1));
    char *out = hl_return_buffer((size_t)limit);
    int size = LZ4_decompress_safe(in.data, out, small(in.size), limit);

    if (size < 0)
        hl_fail(HL_ERROR_USER, "not LZ4, or more than %d bytes of it", limit);
    hl_return_shrink((size_t)size);
}
