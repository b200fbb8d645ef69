#include "mem/bitmap.h"

/* Bits [from, to) of one word, 0 <= from < to <= 64. */
static uint64_t word_mask(size_t from, size_t to)
{
    return (UINT64_MAX << from) & (UINT64_MAX >> (64 - to));
}

/* Calls change(word index, mask) for every word that [first, first + count)
 * touches.  The compiler sees through the constant function pointers. */
static inline void each_word(uint64_t *bits, size_t first, size_t count,
                             void (*change)(uint64_t *, uint64_t))
{
    size_t end = first + count;

    while (first < end) {
        size_t word = first / 64;
        size_t stop = (word + 1) * 64 < end ? (word + 1) * 64 : end;
        change(&bits[word], word_mask(first % 64, stop - word * 64));
        first = stop;
    }
}

static void set(uint64_t *word, uint64_t mask) { *word |= mask; }
static void clear(uint64_t *word, uint64_t mask) { *word &= ~mask; }

/* The same by bytes for the words in the middle of a long run: of everything,
 * mostly. */
static void fill_range(uint64_t *bits, size_t first, size_t count, bool value)
{
    void (*const change)(uint64_t *, uint64_t) = value ? set : clear;
    size_t end = first + count, from = (first + 63) / 64, to = end / 64;

    if (from + 4 > to) {
        each_word(bits, first, count, change);
        return;
    }
    each_word(bits, first, from * 64 - first, change);
    memset(&bits[from], value ? 0xff : 0, (to - from) * sizeof *bits);
    each_word(bits, to * 64, end - to * 64, change);
}

/* All are sequentially consistent: the correctness of trap trackers depends on
 * their order relative to protecting pages and to each other. */
static void atomic_set(uint64_t *word, uint64_t mask)
{
    __atomic_fetch_or(word, mask, __ATOMIC_SEQ_CST);
}

static void atomic_clear(uint64_t *word, uint64_t mask)
{
    __atomic_fetch_and(word, ~mask, __ATOMIC_SEQ_CST);
}

void hl_bitmap_set_range(uint64_t *bits, size_t first, size_t count)
{
    fill_range(bits, first, count, true);
}

void hl_bitmap_clear_range(uint64_t *bits, size_t first, size_t count)
{
    fill_range(bits, first, count, false);
}

void hl_bitmap_atomic_set_range(uint64_t *bits, size_t first, size_t count)
{
    each_word(bits, first, count, atomic_set);
}

void hl_bitmap_atomic_clear_range(uint64_t *bits, size_t first, size_t count)
{
    each_word(bits, first, count, atomic_clear);
}

static uint64_t combined(uint64_t a, uint64_t b,
                         enum hl_set_operation operation)
{
    switch (operation) {
    case HL_UNION:
        return a | b;
    case HL_INTERSECTION:
        return a & b;
    case HL_SYMMETRIC_DIFFERENCE:
        return a ^ b;
    default:
        return a & ~b;
    }
}

void hl_bitmap_combine(uint64_t *dst, const uint64_t *a, const uint64_t *b,
                       size_t page_count, enum hl_set_operation operation)
{
    for (size_t i = 0; i < hl_bitmap_words(page_count); i++)
        dst[i] = combined(a[i], b[i], operation);
}

size_t hl_bitmap_count(const uint64_t *bits, size_t page_count)
{
    size_t total = 0;

    for (size_t i = 0; i < page_count / 64; i++)
        total += hl_bits_count(bits[i]);
    if (page_count % 64)
        total += hl_bits_count(bits[page_count / 64] &
                               word_mask(0, page_count % 64));
    return total;
}
