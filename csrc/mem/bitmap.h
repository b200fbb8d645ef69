/* Page bitmaps: bit i of bits[i / 64] stands for page i.
 *
 * A bitmap of n pages has hl_bitmap_words(n) words; bits past the end may be
 * set by a careless producer and are ignored by every reader that is given
 * the page count.  Nothing here allocates, fails or locks; the functions with
 * `atomic` in their name may run in a signal handler and race each other. */
#ifndef HL_MEM_BITMAP_H
#define HL_MEM_BITMAP_H

#include <string.h>

#include "base.h"

static inline size_t hl_bitmap_words(size_t page_count)
{
    return page_count / 64 + (page_count % 64 != 0);
}

/* How many bits are set.  Without a processor of 2008 that may be a call, and
 * most words have none or all. */
static inline size_t hl_bits_count(uint64_t bits)
{
    if (bits == 0 || bits == UINT64_MAX)
        return bits ? 64 : 0;
    return (size_t)__builtin_popcountll(bits);
}

static inline bool hl_bitmap_test(const uint64_t *bits, size_t page)
{
    return bits[page / 64] >> (page % 64) & 1;
}

static inline void hl_bitmap_set(uint64_t *bits, size_t page)
{
    bits[page / 64] |= UINT64_C(1) << (page % 64);
}

static inline void hl_bitmap_clear(uint64_t *bits, size_t page)
{
    bits[page / 64] &= ~(UINT64_C(1) << (page % 64));
}

static inline void hl_bitmap_zero(uint64_t *bits, size_t page_count)
{
    memset(bits, 0, hl_bitmap_words(page_count) * sizeof *bits);
}

/* Set or clear pages [first, first + count). */
void hl_bitmap_set_range(uint64_t *bits, size_t first, size_t count);
void hl_bitmap_clear_range(uint64_t *bits, size_t first, size_t count);

/* The same on a bitmap that a signal handler or another thread also writes:
 * no bit outside the range is ever disturbed.  Async-signal-safe. */
void hl_bitmap_atomic_set_range(uint64_t *bits, size_t first, size_t count);
void hl_bitmap_atomic_clear_range(uint64_t *bits, size_t first, size_t count);

enum hl_set_operation {
    HL_UNION,
    HL_INTERSECTION,
    HL_SYMMETRIC_DIFFERENCE,
    HL_DIFFERENCE
};

/* dst = a (operation) b; dst may be one of them. */
void hl_bitmap_combine(uint64_t *dst, const uint64_t *a, const uint64_t *b,
                       size_t page_count, enum hl_set_operation operation);

/* Number of set bits below page_count. */
size_t hl_bitmap_count(const uint64_t *bits, size_t page_count);

#endif
