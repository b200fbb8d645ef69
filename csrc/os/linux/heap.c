#include "os/linux/heap.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where the break began: field 47 of /proc/self/stat, counted from behind the
 * program's name, which may hold anything.  0: not known. */
static uintptr_t heap_start(void)
{
    char text[2048];
    unsigned long start = 0;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text - 1);

    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    const char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 47; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL || sscanf(at, "%lu", &start) != 1)
        return 0;
    return start;
}

#ifdef __GLIBC__
/* glibc's malloc.c, "Chunk details": in front of each block stand 8 bytes of
 * its size, whose low bit says of the block before that it is in use; a block
 * ends 8 bytes into the next header.  Only what lies below a block in use is
 * read, and that much of the break stays mapped. */
__attribute__((no_sanitize("address", "thread"))) static bool
find_block(uintptr_t chunk, uintptr_t start, uintptr_t end)
{
    uintptr_t top = (uintptr_t)sbrk(0);

    while (chunk != 0 && chunk % 16 == 0 && chunk + 16 <= start) {
        size_t size = *(const volatile size_t *)(chunk + 8) & ~(size_t)7;
        if (size < 32 || size % 16 != 0 || size + 16 > top - chunk)
            return false;
        if (end <= chunk + size + 8)
            return *(const volatile size_t *)(chunk + size + 8) & 1;
        chunk += size;
    }
    return false;
}
#else
static bool find_block(uintptr_t chunk, uintptr_t start, uintptr_t end)
{
    (void)chunk;
    (void)start;
    (void)end;
    return false;
}
#endif

bool hl_heap_is_in_block(uintptr_t start, uintptr_t end)
{
    return find_block(heap_start(), start, end);
}
