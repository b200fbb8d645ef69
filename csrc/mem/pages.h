/* Sparse sets of pages: a bitmap, a mark for each of its words that is not
 * zero, and a mark for each word of marks that is not zero (`tops`).
 *
 * A pass over a set costs a step for each marked word, and one load for every
 * 262144 pages: one for a GiB, where a bare bitmap takes 4096.  A restore
 * makes a dozen passes.
 *
 *  P1. A word is marked if and only if it is not zero: what left a set must
 *      not be visited ever after.  In a set that handlers add to, a word that
 *      is zero may be marked until the next hl_pages_atomic_remove over it.
 *  P2. Bits past page_count mean nothing, here as in bitmap.h.
 *
 * Only hl_pages_init allocates or fails; nothing locks.  The functions with
 * `atomic` in their name are for a set that signal handlers add to: adding may
 * happen in any number of handlers at any moment, the rest in one thread at a
 * time. */
#ifndef HL_MEM_PAGES_H
#define HL_MEM_PAGES_H

#include "base.h"
#include "mem/bitmap.h"
#include "mem/runs.h"

struct hl_pages {
    size_t page_count;
    uint64_t *bits;  /* one a page */
    uint64_t *marks; /* one a word of bits[] */
    uint64_t *tops;  /* one a word of marks[] */
};

/* An empty set in words that are zero, so many; the caller's, who frees them
 * afterwards. */
size_t hl_pages_words(size_t page_count);
void hl_pages_place(struct hl_pages *set, size_t page_count, uint64_t *words);

/* An empty set of up to page_count pages, or -ENOMEM. */
int hl_pages_init(struct hl_pages *set, size_t page_count) HL_MUST_CHECK;
/* Does nothing on one that is zeroed. */
void hl_pages_free(struct hl_pages *set);

static inline bool hl_pages_has(const struct hl_pages *set, size_t page)
{
    return hl_bitmap_test(set->bits, page);
}

static inline void hl_pages_add(struct hl_pages *set, size_t page)
{
    hl_bitmap_set(set->bits, page);
    hl_bitmap_set(set->marks, page / 64);
    hl_bitmap_set(set->tops, page / 4096);
}

static inline void hl_pages_remove(struct hl_pages *set, size_t page)
{
    hl_bitmap_clear(set->bits, page);
    if (set->bits[page / 64] == 0)
        hl_bitmap_clear(set->marks, page / 64);
    if (set->marks[page / 4096] == 0)
        hl_bitmap_clear(set->tops, page / 4096);
}

void hl_pages_add_range(struct hl_pages *set, struct hl_run run);
void hl_pages_remove_range(struct hl_pages *set, struct hl_run run);

/* All of them; none of them. */
void hl_pages_fill(struct hl_pages *set);
void hl_pages_empty(struct hl_pages *set);

/* Two sets of the same page_count: dst |= src; dst &= ~src; dst = src. */
void hl_pages_or(struct hl_pages *dst, const struct hl_pages *src);
void hl_pages_andnot(struct hl_pages *dst, const struct hl_pages *src);
void hl_pages_copy(struct hl_pages *dst, const struct hl_pages *src);

/* dst = those of src in the run, which begins with a word of bits[]. */
void hl_pages_copy_in(struct hl_pages *dst, const struct hl_pages *src,
                      struct hl_run run);

/* bits[] |= set. */
void hl_pages_read(const struct hl_pages *set, uint64_t *bits);

size_t hl_pages_count(const struct hl_pages *set);
/* Whether it is more than `enough`, and up to there about how many: bits past
 * page_count may be counted. */
size_t hl_pages_count_to(const struct hl_pages *set, size_t enough);
/* Those in the run, which begins with a word of bits[]. */
size_t hl_pages_count_in(const struct hl_pages *set, struct hl_run run);

/* hl_pages_word, where the next one is not behind the same word of marks. */
bool hl_pages_far_word(const struct hl_pages *set, size_t *word);

/* The next marked word of bits[] at or after *word, or false: `for (size_t w =
 * 0; hl_pages_word(set, &w); w++)`. */
static inline bool hl_pages_word(const struct hl_pages *set, size_t *word)
{
    if (*word < hl_bitmap_words(set->page_count)) {
        uint64_t marks = set->marks[*word / 64] >> (*word % 64);
        if (marks) {
            *word += (size_t)__builtin_ctzll(marks);
            return true;
        }
    }
    return hl_pages_far_word(set, word);
}

/* The first page of the set at or after `page`, or page_count. */
size_t hl_pages_next(const struct hl_pages *set, size_t page);

/* The next run at or after *cursor, which moves behind it; false at the end:
 * `for (size_t at = 0; hl_pages_run(set, &at, &run);)`. */
bool hl_pages_run(const struct hl_pages *set, size_t *cursor,
                  struct hl_run *run);

/* Async-signal-safe. */
void hl_pages_atomic_add(struct hl_pages *set, struct hl_run run);
void hl_pages_atomic_remove(struct hl_pages *set, struct hl_run run);
bool hl_pages_atomic_has(const struct hl_pages *set, size_t page);
/* dst |= src, where handlers add to src and nobody to dst. */
void hl_pages_atomic_or(struct hl_pages *dst, const struct hl_pages *src);

#endif
