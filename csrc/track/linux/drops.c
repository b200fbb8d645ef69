#include "track/linux/drops.h"

#include "mem/copy.h"

#define LINE ((size_t)64) /* bytes */

int hl_drops_init(struct hl_drops *drops, const struct hl_vma *vma,
                  size_t page_count)
{
    const unsigned shared = HL_KIND_SHARED | HL_KIND_FILE | HL_KIND_HUGETLB;
    int err = 0;

    /* A private mapping of hugetlbfs is both: what is dropped from it is zero
     * where its file has a hole. */
    drops->by_zero = vma->kinds & shared;
    drops->by_copy = vma->kinds & (HL_KIND_FILE_COPY | HL_KIND_HUGETLB);
    if (drops->by_zero)
        err = hl_pages_init(&drops->filled, page_count);
    if (err == 0 && drops->by_copy)
        err = hl_pages_init(&drops->copies, page_count);
    if (err == 0 && (drops->by_zero || drops->by_copy))
        err = hl_pages_init(&drops->now, page_count);
    return err;
}

void hl_drops_free(struct hl_drops *drops)
{
    hl_pages_free(&drops->filled);
    hl_pages_free(&drops->copies);
    hl_pages_free(&drops->now);
}

/* What is in memory now, of t's pages in `run`, into drops->now. */
static int look(struct hl_drops *drops, const struct hl_tracker *t,
                struct hl_scan *scan, enum hl_scan_for what, struct hl_run run)
{
    return hl_scan_find(scan, what, t->addr, run, &drops->now);
}

/* Usually it is not, and one cache line shows it: a different one in each
 * page, since lines at the same offset of all pages would share few cache
 * sets. */
static bool is_zero(const struct hl_tracker *t, size_t page)
{
    const char *start = t->addr + page * t->page_size;
    size_t line = page * LINE % t->page_size;

    return hl_is_zero(start + line, LINE) && hl_is_zero(start, t->page_size);
}

/* Armed first, looked at second: if a page is dropped in between, this sees
 * its new content, and so does the next read of the page (T3). */
static void note_filled(struct hl_drops *drops, const struct hl_tracker *t,
                        struct hl_run run)
{
    for (size_t i = run.first; i < run.first + run.count; i++) {
        if (is_zero(t, i))
            hl_pages_remove(&drops->filled, i);
        else
            hl_pages_add(&drops->filled, i);
    }
}

static void touch(const struct hl_tracker *t, struct hl_run run)
{
    for (size_t i = run.first; i < run.first + run.count; i++)
        (void)*(volatile const char *)(t->addr + i * t->page_size);
}

int hl_drops_armed(struct hl_drops *drops, const struct hl_tracker *t,
                   struct hl_scan *scan, const struct hl_pages *pages)
{
    struct hl_run run;
    int err = 0;

    for (size_t at = 0; drops->by_zero && hl_pages_run(pages, &at, &run);)
        note_filled(drops, t, run);
    if (!drops->by_copy)
        return 0;
    hl_pages_empty(&drops->now);
    for (size_t at = 0; err == 0 && hl_pages_run(pages, &at, &run);) {
        touch(t, run); /* a copy in swap would look like no copy */
        err = look(drops, t, scan, HL_SCAN_PRESENT, run);
    }
    if (err == 0)
        hl_pages_or(&drops->copies, pages);
    /* Out of memory again already: taken for a copy. */
    hl_pages_andnot(&drops->copies, &drops->now);
    hl_pages_empty(&drops->now);
    for (size_t at = 0; err == 0 && hl_pages_run(pages, &at, &run);)
        err = look(drops, t, scan, HL_SCAN_COPIES, run);
    if (err == 0)
        hl_pages_or(&drops->copies, &drops->now);
    return err;
}

static int find_copies(struct hl_drops *drops, const struct hl_tracker *t,
                       struct hl_scan *scan, struct hl_pages *dirty)
{
    hl_pages_empty(&drops->now);
    int err = look(drops, t, scan, HL_SCAN_COPIES,
                   (struct hl_run){0, t->page_count});
    if (err < 0)
        return err;
    /* now = copies & ~now, in the terms there are */
    for (size_t w = 0; hl_pages_word(&drops->copies, &w); w++) {
        uint64_t gone = drops->copies.bits[w] & ~drops->now.bits[w];
        for (; gone != 0; gone &= gone - 1)
            hl_pages_add(dirty, w * 64 + (size_t)__builtin_ctzll(gone));
    }
    return 0;
}

/* A file that is cut within a page loses a part of that one, too. */
static void add_with_neighbours(struct hl_pages *dirty, size_t page)
{
    size_t first = page > 0 ? page - 1 : 0;
    size_t end = page + 2 < dirty->page_count ? page + 2 : dirty->page_count;

    hl_pages_add_range(dirty, (struct hl_run){first, end - first});
}

/* Only pages in memory are read: reading the hole of a file fills it, and
 * reading beyond the end of a file ends the process. */
static int find_zeros(struct hl_drops *drops, const struct hl_tracker *t,
                      struct hl_scan *scan, const struct hl_pages *open,
                      struct hl_pages *dirty)
{
    hl_pages_empty(&drops->now);
    int err = look(drops, t, scan, HL_SCAN_PRESENT,
                   (struct hl_run){0, t->page_count});
    if (err < 0)
        return err;
    for (size_t w = 0; hl_pages_word(&drops->filled, &w); w++) {
        uint64_t left = drops->filled.bits[w] & ~open->bits[w];
        for (; left != 0; left &= left - 1) {
            size_t page = w * 64 + (size_t)__builtin_ctzll(left);
            if (!hl_pages_has(&drops->now, page) || is_zero(t, page))
                add_with_neighbours(dirty, page);
        }
    }
    return 0;
}

int hl_drops_find(struct hl_drops *drops, const struct hl_tracker *t,
                  struct hl_scan *scan, const struct hl_pages *open,
                  struct hl_pages *dirty)
{
    int err = 0;

    if (drops->by_copy)
        err = find_copies(drops, t, scan, dirty);
    if (err == 0 && drops->by_zero)
        err = find_zeros(drops, t, scan, open, dirty);
    return err;
}
