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

size_t hl_pages_words(size_t page_count)
{
    size_t words = hl_bitmap_words(page_count);
    size_t marks = hl_bitmap_words(words);

    return words + marks + hl_bitmap_words(marks);
}

void hl_pages_place(struct hl_pages *set, size_t page_count, uint64_t *words)
{
    *set = (struct hl_pages){.page_count = page_count, .bits = words};
    set->marks = set->bits + word_count(set);
    set->tops = set->marks + mark_words(set);
}

int hl_pages_init(struct hl_pages *set, size_t page_count)
{
    uint64_t *words = calloc(hl_pages_words(page_count), sizeof *words);

    *set = (struct hl_pages){0};
    if (words == NULL)
        return -ENOMEM;
    hl_pages_place(set, page_count, words);
    return 0;
}

void hl_pages_free(struct hl_pages *set)
{
    free(set->bits);
    *set = (struct hl_pages){0};
}

/* The words that a run of bits touches: of bits[], and so of marks[]. */
static struct hl_run words_of(struct hl_run run)
{
    size_t first = run.first / 64;
    size_t last = (run.first + run.count - 1) / 64;

    return (struct hl_run){first, run.count ? last - first + 1 : 0};
}

void hl_pages_add_range(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run), marks = words_of(words);

    hl_bitmap_set_range(set->bits, run.first, run.count);
    hl_bitmap_set_range(set->marks, words.first, words.count);
    hl_bitmap_set_range(set->tops, marks.first, marks.count);
}

/* Clear a run of bits, and the marks of the words that it touches; only the
 * first and the last of those may keep a bit. */
static void clear_run(uint64_t *bits, uint64_t *marks, struct hl_run run)
{
    struct hl_run words = words_of(run);
    size_t last = words.first + words.count - 1;

    hl_bitmap_clear_range(bits, run.first, run.count);
    hl_bitmap_clear_range(marks, words.first, words.count);
    if (bits[words.first])
        hl_bitmap_set(marks, words.first);
    if (bits[last])
        hl_bitmap_set(marks, last);
}

void hl_pages_remove_range(struct hl_pages *set, struct hl_run run)
{
    if (run.count == 0)
        return;
    struct hl_run words = words_of(run), marks = words_of(words);

    clear_run(set->bits, set->marks, run);
    for (size_t m = marks.first; m < marks.first + marks.count; m++)
        if (set->marks[m] == 0)
            hl_bitmap_clear(set->tops, m);
}

void hl_pages_fill(struct hl_pages *set)
{
    hl_pages_add_range(set, (struct hl_run){0, word_count(set) * 64});
}

/* The next word of marks[] at or after *at that is not zero. */
static bool next_top(const struct hl_pages *set, size_t *at)
{
    *at = hl_page_next(set->tops, mark_words(set), *at);
    return *at < mark_words(set);
}

bool hl_pages_far_word(const struct hl_pages *set, size_t *word)
{
    size_t top = *word / 64 + 1, end = word_count(set);

    if (*word >= end || !next_top(set, &top)) {
        *word = end;
        return false;
    }
    /* A mark that a handler is about to clear may be gone by now. */
    *word = hl_page_next(set->marks, end, top * 64);
    return *word < end;
}

/* All words of a word of marks are visited at once where all are marked: a set
 * of everything is common, and a step for each word would take 20 times as
 * long. */
#define ALL_MARKED UINT64_MAX

void hl_pages_empty(struct hl_pages *set)
{
    for (size_t m = 0; next_top(set, &m); m++) {
        uint64_t *bits = &set->bits[m * 64], marks = set->marks[m];
        if (marks == ALL_MARKED)
            memset(bits, 0, 64 * sizeof *bits);
        else
            for (; marks; marks &= marks - 1)
                bits[__builtin_ctzll(marks)] = 0;
        set->marks[m] = 0;
    }
    hl_bitmap_zero(set->tops, mark_words(set));
}

void hl_pages_or(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t m = 0; next_top(src, &m); m++) {
        uint64_t marks = src->marks[m], *to = &dst->bits[m * 64];
        const uint64_t *from = &src->bits[m * 64];
        dst->marks[m] |= marks;
        hl_bitmap_set(dst->tops, m);
        if (marks == ALL_MARKED)
            for (size_t i = 0; i < 64; i++)
                to[i] |= from[i];
        else
            for (; marks; marks &= marks - 1)
                to[__builtin_ctzll(marks)] |= from[__builtin_ctzll(marks)];
    }
}

void hl_pages_andnot(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t w = 0; hl_pages_word(dst, &w); w++) {
        dst->bits[w] &= ~src->bits[w];
        if (dst->bits[w] == 0)
            hl_bitmap_clear(dst->marks, w);
        if (dst->marks[w / 64] == 0)
            hl_bitmap_clear(dst->tops, w / 64);
    }
}

void hl_pages_copy(struct hl_pages *dst, const struct hl_pages *src)
{
    hl_pages_empty(dst);
    hl_pages_or(dst, src);
}

/* The bits of a word that the run has of it. */
static uint64_t mask_of(struct hl_run run, size_t word)
{
    size_t left = run.first + run.count - word * 64;

    return left < 64 ? (UINT64_C(1) << left) - 1 : UINT64_MAX;
}

void hl_pages_copy_in(struct hl_pages *dst, const struct hl_pages *src,
                      struct hl_run run)
{
    size_t end = run.first + run.count;

    hl_pages_empty(dst);
    for (size_t w = run.first / 64; hl_pages_word(src, &w) && w * 64 < end;
         w++) {
        dst->bits[w] = src->bits[w] & mask_of(run, w);
        if (dst->bits[w]) {
            hl_bitmap_set(dst->marks, w);
            hl_bitmap_set(dst->tops, w / 64);
        }
    }
}

size_t hl_pages_count_in(const struct hl_pages *set, struct hl_run run)
{
    size_t end = run.first + run.count, total = 0;

    for (size_t w = run.first / 64; hl_pages_word(set, &w) && w * 64 < end;
         w++)
        total += hl_bits_count(set->bits[w] & mask_of(run, w));
    return total;
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
        total += hl_bits_count(set->bits[w]);
    if (tail) /* P2 */
        total -= hl_bits_count(set->bits[set->page_count / 64] &
                               (UINT64_MAX << tail));
    return total;
}

size_t hl_pages_count_to(const struct hl_pages *set, size_t enough)
{
    size_t total = 0;

    for (size_t w = 0; total <= enough && hl_pages_word(set, &w); w++)
        total += hl_bits_count(set->bits[w]);
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

/* The page first, its mark second, the mark's third, which is what makes
 * removing sound. */
void hl_pages_atomic_add(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run), marks = words_of(words);

    hl_bitmap_atomic_set_range(set->bits, run.first, run.count);
    HL_LINGER();
    hl_bitmap_atomic_set_range(set->marks, words.first, words.count);
    HL_LINGER();
    hl_bitmap_atomic_set_range(set->tops, marks.first, marks.count);
}

/* Clear the marks of a run of words, and set them again for words that are not
 * zero.  A bit added to a word before it is read here is seen by that; one
 * added after it sets its mark even later, so the clearing cannot undo it. */
static void mark_anew(const uint64_t *words, uint64_t *marks,
                      struct hl_run run)
{
    hl_bitmap_atomic_clear_range(marks, run.first, run.count);
    HL_LINGER();
    for (size_t w = run.first; w < run.first + run.count; w++)
        if (__atomic_load_n(&words[w], __ATOMIC_SEQ_CST))
            hl_bitmap_atomic_set_range(marks, w, 1);
}

void hl_pages_atomic_remove(struct hl_pages *set, struct hl_run run)
{
    struct hl_run words = words_of(run);

    hl_bitmap_atomic_clear_range(set->bits, run.first, run.count);
    mark_anew(set->bits, set->marks, words);
    mark_anew(set->marks, set->tops, words_of(words));
}

bool hl_pages_atomic_has(const struct hl_pages *set, size_t page)
{
    return __atomic_load_n(&set->bits[page / 64], __ATOMIC_SEQ_CST) >>
               page % 64 &
           1;
}

void hl_pages_atomic_or(struct hl_pages *dst, const struct hl_pages *src)
{
    for (size_t m = 0; next_top(src, &m); m++) {
        uint64_t marks = __atomic_load_n(&src->marks[m], __ATOMIC_SEQ_CST);
        for (; marks; marks &= marks - 1) {
            size_t w = m * 64 + (size_t)__builtin_ctzll(marks);
            uint64_t bits = __atomic_load_n(&src->bits[w], __ATOMIC_SEQ_CST);
            dst->bits[w] |= bits;
            if (bits) {
                hl_bitmap_set(dst->marks, w);
                hl_bitmap_set(dst->tops, m);
            }
        }
    }
}
