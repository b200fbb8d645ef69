/* What all conversions end with: bytes, filled up to a width. */
#include "format.h"

#include <string.h>

void hl_format_put(struct hl_sink *sink, const char *data, size_t size)
{
    if (size == 0)
        return;
    sink->put(sink, data, size);
    sink->written += size;
}

void hl_format_fill(struct hl_sink *sink, char byte, size_t count)
{
    char block[32];

    memset(block, byte, count < sizeof(block) ? count : sizeof(block));
    for (; count > sizeof(block); count -= sizeof(block))
        hl_format_put(sink, block, sizeof(block));
    hl_format_put(sink, block, count);
}

size_t hl_format_missing(const struct hl_spec *spec, size_t size)
{
    size_t width = (size_t)spec->width;
    return width > size ? width - size : 0;
}

void hl_format_number(struct hl_sink *sink, const struct hl_spec *spec,
                      const char *prefix, const char *digits, size_t size,
                      size_t zeros)
{
    size_t fill = hl_format_missing(spec, strlen(prefix) + zeros + size);

    if (spec->zero && !spec->left) {
        zeros += fill;
        fill = 0;
    }
    if (!spec->left)
        hl_format_fill(sink, ' ', fill);
    hl_format_put(sink, prefix, strlen(prefix));
    hl_format_fill(sink, '0', zeros);
    hl_format_put(sink, digits, size);
    if (spec->left)
        hl_format_fill(sink, ' ', fill);
}
