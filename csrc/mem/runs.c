#include "mem/runs.h"

/* A tracker's bitmap may change while it is read; a relaxed load compiles to a
 * plain one, but permits that. */
static uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* First page at or after `page` whose bit, xored with flip, is set; or
 * page_count.  One load covers 64 pages.  A hit past the end is clamped after
 * the search rather than masked before it, because under flip the bits past
 * the end look set. */
static size_t find_bit(const uint64_t *bits, size_t page_count, size_t page,
                       uint64_t flip)
{
    if (page >= page_count)
        return page_count;

    size_t word = page / 64;
    uint64_t w = (load(&bits[word]) ^ flip) & (UINT64_MAX << (page % 64));
    while (w == 0) {
        if (++word * 64 >= page_count)
            return page_count;
        w = load(&bits[word]) ^ flip;
    }
    page = word * 64 + (size_t)__builtin_ctzll(w);
    return page < page_count ? page : page_count;
}

size_t hl_page_next(const uint64_t *bits, size_t page_count, size_t page)
{
    return find_bit(bits, page_count, page, 0);
}

bool hl_run_next(const uint64_t *bits, size_t page_count, size_t *cursor,
                 struct hl_run *run)
{
    size_t first = find_bit(bits, page_count, *cursor, 0);
    size_t end = find_bit(bits, page_count, first, UINT64_MAX);

    *cursor = end;
    *run = (struct hl_run){.first = first, .count = end - first};
    return first != end;
}

size_t hl_runs_next(const uint64_t *bits, size_t page_count, size_t *cursor,
                    struct hl_run *runs, size_t cap)
{
    size_t n = 0;

    while (n < cap && hl_run_next(bits, page_count, cursor, &runs[n]))
        n++;
    return n;
}
