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

/* 64 bytes a step, which compilers turn into vector instructions; most pages
 * that are not zero say so in the first step. */
bool hl_is_zero(const void *src, size_t size)
{
    const uint64_t *word = src;

    for (size_t i = 0; i < size / 8; i += 8) {
        uint64_t any = 0;
        for (size_t j = 0; j < 8; j++)
            any |= word[i + j];
        if (any)
            return false;
    }
    return true;
}

bool hl_equal(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) == 0;
}
#endif
