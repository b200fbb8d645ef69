#include "mem/pages.h"

#include <stdlib.h>

#include "inject.h"

static size_t word_count(const struct hl_pages *set)
{
    return hl_bitmap_words(set->page_count);
}

static size_t mark_words(const struct hl_pages *set)
{
    return hl_bitmap_words(word_count(set));
}

int hl_pages_init(struct hl_pages *set, size_t page_count)
{
    *set = (struct hl_pages){.page_count = page_count};
    set->bits = calloc(word_count(set), sizeof *set->bits);
    set->marks = calloc(mark_words(set), sizeof *set->marks);
    if (set->bits && set->marks)
        return 0;
    hl_pages_free(set);
    return -ENOMEM;
}

void hl_pages_free(struct hl_pages *set)
{
    free(set->bits);
    free(set->marks);
    *set = (struct hl_pages){0};
}

/* The words of bits[] that a run touches. */
static struct hl_run words_of(struct hl_run run)
{
    size_t first = run.first / 64;
    size_t last = (run.first + run.count - 1) / 64;

    return (struct hl_run){first, run.count ? last - first + 1 : 0};
}

void hl_pages_add_range(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run);

    hl_bitmap_set_range(set->bits, run.first, run.count);
    hl_bitmap_set_range(set->marks, words.first, words.count);
}

/* Of the words that it touches, only the first and the last may keep pages. */
void hl_pages_remove_range(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run);
    if (words.count == 0)
        return;
    size_t last = words.first + words.count - 1;

    hl_bitmap_clear_range(set->bits, run.first, run.count);
    hl_bitmap_clear_range(set->marks, words.first, words.count);
    if (set->bits[words.first])
        hl_bitmap_set(set->marks, words.first);
    if (set->bits[last])
        hl_bitmap_set(set->marks, last);
}

void hl_pages_fill(struct hl_pages *set)
{
    memset(set->bits, 0xff, word_count(set) * sizeof *set->bits);
    hl_bitmap_set_range(set->marks, 0, word_count(set));
}

bool hl_pages_word(const struct hl_pages *set, size_t *word)
{
    *word = hl_page_next(set->marks, word_count(set), *word);
    return *word < word_count(set);
}

void hl_pages_empty(struct hl_pages *set)
{
    for (size_t w = 0; hl_pages_word(set, &w); w++)
        set->bits[w] = 0;
    hl_bitmap_zero(set->marks, word_count(set));
}

static void or_marks(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t m = 0; m < mark_words(src); m++)
        dst->marks[m] |= src->marks[m];
}

void hl_pages_or(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t w = 0; hl_pages_word(src, &w); w++)
        dst->bits[w] |= src->bits[w];
    or_marks(dst, src);
}

void hl_pages_andnot(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t w = 0; hl_pages_word(dst, &w); w++) {
        dst->bits[w] &= ~src->bits[w];
        if (dst->bits[w] == 0)
            hl_bitmap_clear(dst->marks, w);
    }
}

void hl_pages_copy(struct hl_pages *dst, const struct hl_pages *src)
{
    hl_pages_empty(dst);
    hl_pages_or(dst, src);
}

void hl_pages_read(const struct hl_pages *set, uint64_t *bits)
{
    for (size_t w = 0; hl_pages_word(set, &w); w++)
        bits[w] |= set->bits[w];
}

size_t hl_pages_count(const struct hl_pages *set)
{
    size_t total = 0, tail = set->page_count % 64;

    for (size_t w = 0; hl_pages_word(set, &w); w++)
        total += (size_t)__builtin_popcountll(set->bits[w]);
    if (tail) /* P2 */
        total -= (size_t)__builtin_popcountll(set->bits[set->page_count / 64] &
                                              (UINT64_MAX << tail));
    return total;
}

size_t hl_pages_next(const struct hl_pages *set, size_t page)
{
    size_t stop = (page / 64 + 1) * 64;

    if (stop > set->page_count)
        stop = set->page_count;
    if (page >= stop)
        return set->page_count;
    /* What is left of the word that it is in, then marked words. */
    size_t found = hl_page_next(set->bits, stop, page);
    for (size_t w = page / 64; found == stop && stop < set->page_count;) {
        w++;
        if (!hl_pages_word(set, &w))
            return set->page_count;
        stop = (w + 1) * 64;
        if (stop > set->page_count)
            stop = set->page_count;
        found = hl_page_next(set->bits, stop, w * 64);
    }
    return found;
}

bool hl_pages_run(const struct hl_pages *set, size_t *cursor,
                  struct hl_run *run)
{
    *cursor = hl_pages_next(set, *cursor);
    return hl_run_next(set->bits, set->page_count, cursor, run);
}

/* The page first and the mark second, which is what makes removing sound. */
void hl_pages_atomic_add(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run);

    hl_bitmap_atomic_set_range(set->bits, run.first, run.count);
    HL_LINGER();
    hl_bitmap_atomic_set_range(set->marks, words.first, words.count);
}

/* Marks are cleared before the words are read, and set again for words that
 * are not zero.  A page added before that read is seen by it; one added after
 * it sets its mark even later, so the clearing cannot undo it. */
void hl_pages_atomic_remove(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run);

    hl_bitmap_atomic_clear_range(set->bits, run.first, run.count);
    hl_bitmap_atomic_clear_range(set->marks, words.first, words.count);
    HL_LINGER();
    for (size_t w = words.first; w < words.first + words.count; w++)
        if (__atomic_load_n(&set->bits[w], __ATOMIC_SEQ_CST))
            hl_bitmap_atomic_set_range(set->marks, w, 1);
}

bool hl_pages_atomic_has(const struct hl_pages *set, size_t page)
{
    return __atomic_load_n(&set->bits[page / 64], __ATOMIC_SEQ_CST) >>
               page % 64 &
           1;
}

void hl_pages_atomic_or(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t m = 0; m < mark_words(src); m++) {
        uint64_t marks = __atomic_load_n(&src->marks[m], __ATOMIC_SEQ_CST);
        for (; marks; marks &= marks - 1) {
            size_t w = m * 64 + (size_t)__builtin_ctzll(marks);
            dst->bits[w] |= __atomic_load_n(&src->bits[w], __ATOMIC_SEQ_CST);
            if (dst->bits[w])
                hl_bitmap_set(dst->marks, w);
        }
    }
}
