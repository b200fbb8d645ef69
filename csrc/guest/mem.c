/* Copying, filling and comparing bytes.
 *
 * The compiler calls these for assignments and loops, and sandboxes are fed by
 * them: most calls are short, some are of many MiB.  Short ones move words
 * that may overlap each other, which needs no loop over bytes; long ones are
 * left to the processor's string instructions, eight bytes at a step, which
 * real ones do in cache lines and emulated ones one by one. */
#include <string.h>

#include <stdint.h>

/* A loop that copies must not become a call of memcpy: here that never ends.
 * clang is told by -ffreestanding. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns")
#endif

/* Any bytes, anywhere, as a word. */
typedef uint64_t u64 __attribute__((may_alias, aligned(1)));
typedef uint32_t u32 __attribute__((may_alias, aligned(1)));
typedef uint16_t u16 __attribute__((may_alias, aligned(1)));
typedef uint64_t u128 __attribute__((vector_size(16), may_alias, aligned(1)));

/* From here on the string instructions are faster. */
#define LONG_COPY ((size_t)256)

/* Up to 32 bytes; all is read before anything is written. */
static inline void copy_short(char *to, const char *from, size_t size)
{
    if (size >= 16) {
        u128 a = *(const u128 *)from, b = *(const u128 *)(from + size - 16);
        *(u128 *)to = a;
        *(u128 *)(to + size - 16) = b;
    } else if (size >= 8) {
        u64 a = *(const u64 *)from, b = *(const u64 *)(from + size - 8);
        *(u64 *)to = a;
        *(u64 *)(to + size - 8) = b;
    } else if (size >= 4) {
        u32 a = *(const u32 *)from, b = *(const u32 *)(from + size - 4);
        *(u32 *)to = a;
        *(u32 *)(to + size - 4) = b;
    } else if (size >= 2) {
        u16 a = *(const u16 *)from, b = *(const u16 *)(from + size - 2);
        *(u16 *)to = a;
        *(u16 *)(to + size - 2) = b;
    } else if (size != 0) {
        *to = *from;
    }
}

/* Ascending, so that `to` may lie below `from` in the same bytes.  The last
 * 16 are read before the loop can have changed them. */
static inline void copy_up(char *to, const char *from, size_t size)
{
    char *last = to + size - 16;
    u128 tail = *(const u128 *)(from + size - 16);

    for (; to < last; to += 16, from += 16)
        *(u128 *)to = *(const u128 *)from;
    *(u128 *)last = tail;
}

/* Descending, for `to` above `from`. */
static inline void copy_down(char *to, const char *from, size_t size)
{
    u128 head = *(const u128 *)from;

    for (size_t i = size - 16; i > 0; i = i > 16 ? i - 16 : 0)
        *(u128 *)(to + i) = *(const u128 *)(from + i);
    *(u128 *)to = head;
}

/* Not for bytes that overlap. */
static inline void copy_long(char *to, const char *from, size_t size)
{
    size_t words = size / 8;

    *(u64 *)(to + size - 8) = *(const u64 *)(from + size - 8);
    __asm__ volatile("rep movsq"
                     : "+D"(to), "+S"(from), "+c"(words)
                     :
                     : "memory");
}

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    if (size <= 32)
        copy_short(to, from, size);
    else if (size < LONG_COPY)
        copy_up(to, from, size);
    else
        copy_long(to, from, size);
    return to;
}

void *memmove(void *to, const void *from, size_t size)
{
    uintptr_t distance = (uintptr_t)to - (uintptr_t)from;

    if (distance == 0)
        return to;
    if (size <= 32)
        copy_short(to, from, size);
    else if (distance < size)
        copy_down(to, from, size);
    else if (-distance < size || size < LONG_COPY)
        copy_up(to, from, size);
    else
        copy_long(to, from, size);
    return to;
}

void *mempcpy(void *restrict to, const void *restrict from, size_t size)
{
    return (char *)memcpy(to, from, size) + size;
}

void *memset(void *to, int byte, size_t size)
{
    char *p = to;
    uint64_t word = (unsigned char)byte * UINT64_C(0x0101010101010101);

    if (size < 8) {
        for (size_t i = 0; i < size; i++)
            p[i] = (char)byte;
        return to;
    }
    *(u64 *)(p + size - 8) = word;
    size_t words = size / 8;
    if (size < LONG_COPY) {
        for (size_t i = 0; i < words; i++)
            *(u64 *)(p + 8 * i) = word;
        return to;
    }
    __asm__ volatile("rep stosq"
                     : "+D"(p), "+c"(words)
                     : "a"(word)
                     : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t size)
{
    const unsigned char *p = a, *q = b;

    for (; size >= 8; size -= 8, p += 8, q += 8) {
        uint64_t x = *(const u64 *)p, y = *(const u64 *)q;
        if (x != y) /* the first byte in memory decides */
            return __builtin_bswap64(x) < __builtin_bswap64(y) ? -1 : 1;
    }
    for (; size > 0; size--, p++, q++)
        if (*p != *q)
            return *p - *q;
    return 0;
}

/* Not 0 if one of the bytes is; the lowest such bit tells which is first. */
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - UINT64_C(0x0101010101010101)) & ~word &
           UINT64_C(0x8080808080808080);
}

void *memchr(const void *data, int byte, size_t size)
{
    const char *p = data;
    uint64_t all = (unsigned char)byte * UINT64_C(0x0101010101010101);

    for (; size >= 8; size -= 8, p += 8) {
        uint64_t found = zero_bytes(*(const u64 *)p ^ all);
        if (found)
            return (char *)(uintptr_t)p + __builtin_ctzll(found) / 8;
    }
    for (; size > 0; size--, p++)
        if (*p == (char)byte)
            return (char *)(uintptr_t)p;
    return NULL;
}

void *memrchr(const void *data, int byte, size_t size)
{
    const char *p = data;

    while (size > 0)
        if (p[--size] == (char)byte)
            return (char *)(uintptr_t)p + size;
    return NULL;
}

size_t strlen(const char *text)
{
    const char *p = text;

    for (; (uintptr_t)p % 8 != 0; p++)
        if (*p == '\0')
            return (size_t)(p - text);
    /* A word at a multiple of 8 is on one page: reading past the end of the
     * text never faults. */
    for (;; p += 8) {
        uint64_t found = zero_bytes(*(const u64 *)p);
        if (found)
            return (size_t)(p - text) + (size_t)__builtin_ctzll(found) / 8;
    }
}
