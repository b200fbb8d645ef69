#include "mem/copy.h"

#include <string.h>

#if defined(__SANITIZE_THREAD__)
/* Word by word and invisible to the sanitizer: the races that callers allow
 * must not hide those that they do not. */
#define RACY __attribute__((no_sanitize("thread"), noinline))

RACY void hl_copy(void *dst, const void *src, size_t size)
{
    volatile uint64_t *to = dst;
    const volatile uint64_t *from = src;
    for (size_t i = 0; i < size / 8; i++)
        to[i] = from[i];
}

RACY void hl_zero(void *dst, size_t size)
{
    volatile uint64_t *to = dst;
    for (size_t i = 0; i < size / 8; i++)
        to[i] = 0;
}

RACY bool hl_is_zero(const void *src, size_t size)
{
    const volatile uint64_t *from = src;
    for (size_t i = 0; i < size / 8; i++)
        if (from[i] != 0)
            return false;
    return true;
}

RACY bool hl_equal(const void *a, const void *b, size_t size)
{
    const volatile uint64_t *one = a, *two = b;
    for (size_t i = 0; i < size / 8; i++)
        if (one[i] != two[i])
            return false;
    return true;
}
#else

void hl_copy(void *dst, const void *src, size_t size)
{
    memcpy(dst, src, size);
}

void hl_zero(void *dst, size_t size) { memset(dst, 0, size); }

typedef uint64_t vector __attribute__((vector_size(16), may_alias));

/* 64 bytes a step; most pages that are not zero differ in the first one. */
bool hl_is_zero(const void *src, size_t size)
{
    const vector *at = src;

    for (size_t i = 0; i < size / sizeof(vector); i += 4) {
        vector any = at[i] | at[i + 1] | at[i + 2] | at[i + 3];
        if (any[0] | any[1])
            return false;
    }
    return true;
}

/* Not memcmp: having found a difference, it reads the bytes again to tell
 * which is greater, and answers "equal" if they became equal in between,
 * without having looked at the rest.  Here every byte is read once. */
bool hl_equal(const void *a, const void *b, size_t size)
{
    const vector *one = a, *two = b;

    for (size_t i = 0; i < size / sizeof(vector); i += 4) {
        vector any = (one[i] ^ two[i]) | (one[i + 1] ^ two[i + 1]) |
                     (one[i + 2] ^ two[i + 2]) | (one[i + 3] ^ two[i + 3]);
        if (any[0] | any[1])
            return false;
    }
    return true;
}
#endif
