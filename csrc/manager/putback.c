/* Writing what differs.
 *
 * Cost, in pages that could be copied meanwhile: an armed page is un-armed,
 * copied, armed and compared once more, and un-arming is a system call for
 * each run of pages (ops->disarm_cost).  Between far snapshots that may be
 * more than to copy the whole region.  Then stretches of WIDE pages in which
 * it is are un-armed in one step, and only what differs is copied, but their
 * pages stay unarmed: they are made hot.  That is M2, and all that it takes: a
 * hot page counts as dirty whoever writes to it, so none of them is armed, and
 * none need be compared once more.  What is not written again cools down, as
 * any hot page does.
 *
 * What is armed is compared (region.c says why): piece by piece, while it is
 * in the caches.  Arming in pieces keeps M3, since `pending` holds all of them
 * until the last one was compared. */
#include "manager/putback.h"

#include "manager/collect.h"
#include "mem/copy.h"
#include "os/memory.h"
#include "os/others.h"

/* A huge page of 4 KiB pages, which arming a part of would split. */
#define WIDE ((size_t)512)

/* Pieces have at least so many pages.  With what they are compared to, they
 * take 1 MiB. */
#define PIECE ((size_t)128)

void hl_region_leave_hot(struct hl_region *r)
{
    if (hl_region_nothing_cold(r)) {
        hl_pages_empty(&r->todo);
        return;
    }
    if (r->hot.count > 0) {
        r->tracker->ops->leave_unarmed(r->tracker, &r->hot.pages);
        hl_pages_andnot(&r->todo, &r->hot.pages);
    }
}

void hl_region_doubt_absent(const struct hl_region *r,
                            const struct hl_snapshot *snapshot,
                            const struct hl_pages *pages,
                            struct hl_pages *doubted)
{
    const struct hl_tracker *const t = r->tracker;
    struct hl_run run, absent;

    if (t->ops->next_absent == NULL || hl_region_nothing_cold(r))
        return;
    for (size_t at = 0; hl_pages_run(pages, &at, &run);) {
        size_t in = run.first, end = run.first + run.count;
        while (t->ops->next_absent(t, &in, end, &absent))
            hl_find_filled(snapshot, absent, doubted);
    }
}

/* The stretch at or after *cursor, WIDE pages or up to the end, that has pages
 * of the set; false if there is none. */
static bool next_wide(const struct hl_pages *set, size_t *cursor,
                      struct hl_run *stretch)
{
    size_t page = hl_pages_next(set, *cursor);

    if (page >= set->page_count)
        return false;
    size_t first = hl_align_down(page, WIDE), left = set->page_count - first;
    *stretch = (struct hl_run){first, left < WIDE ? left : WIDE};
    *cursor = first + stretch->count;
    return true;
}

/* A page's share, besides its run's, of what it takes to un-arm, copy, arm and
 * compare it: where memory is in the caches, copying is the least of it. */
static size_t weight_of(const struct hl_region *r)
{
    return hl_copy_is_past(r->page_count * hl_page_size()) ? 2 : 5;
}

/* What it takes for the pages of the set in a stretch. */
static size_t cost_of(const struct hl_region *r, const struct hl_pages *set,
                      struct hl_run stretch)
{
    size_t pages = 0, runs = 0;
    uint64_t last = 0;

    for (size_t at = 0; at < stretch.count; at += 64) {
        uint64_t bits = set->bits[(stretch.first + at) / 64];
        if (stretch.count - at < 64) /* P2 */
            bits &= (UINT64_C(1) << (stretch.count - at)) - 1;
        pages += hl_bits_count(bits);
        runs += hl_bits_count(bits & ~(bits << 1 | last));
        last = bits >> 63;
    }
    return pages * weight_of(r) + runs * r->tracker->ops->disarm_cost;
}

/* Whether un-arming r->todo by the run is slower than copying everything, and
 * there is a choice.  A tracker that closes pages may open no other ones in
 * borrowed memory: their owner may have closed them. */
static bool is_far(const struct hl_region *r)
{
    const struct hl_tracker_ops *ops = r->tracker->ops;
    size_t cost = 0;
    struct hl_run stretch;

    if (!r->adaptive || ops->disarm_cost == 0 ||
        (r->borrowed && ops->splits_mappings))
        return false;
    for (size_t at = 0; next_wide(&r->todo, &at, &stretch);)
        cost += cost_of(r, &r->todo, stretch);
    return cost > 0 && cost + hl_tracker_cost(ops, r->page_count) +
                               hl_pages_count(&r->dirty) >
                           r->page_count;
}

void hl_region_unarm(struct hl_region *r)
{
    struct hl_tracker *const t = r->tracker;
    struct hl_run run;

    hl_pages_copy(&r->piece, &r->todo);
    if (is_far(r)) {
        struct hl_pages *wide = &r->differs;
        hl_pages_empty(wide);
        for (size_t at = 0; next_wide(&r->todo, &at, &run);)
            if (cost_of(r, &r->todo, run) > run.count)
                hl_pages_add_range(wide, run);
        hl_hot_add(&r->hot, wide);
        for (size_t at = 0; hl_pages_run(wide, &at, &run);) {
            hl_spend(HL_COST_CALL + run.count * HL_COST_ARM);
            t->ops->disarm(t, run);
            r->stats.widened += run.count;
        }
        hl_pages_andnot(&r->piece, wide);
    }
    for (size_t at = 0; hl_pages_run(&r->piece, &at, &run);) {
        hl_spend(HL_COST_CALL);
        t->ops->disarm(t, run);
    }
}

/* Write these, and whether past the caches. */
static void apply(const struct hl_region *r,
                  const struct hl_snapshot *snapshot,
                  const struct hl_pages *pages, bool past,
                  struct hl_applied *done)
{
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        hl_apply(snapshot, r->memory, run, past, done);
    if (past)
        hl_copy_past_end();
}

static void arm(struct hl_region *r, const struct hl_snapshot *snapshot,
                const struct hl_pages *pages, struct hl_pages *raced)
{
    struct hl_run run;

    r->tracker->armed = true;
    hl_region_spend(pages, HL_COST_ARM + HL_COST_LOOK);
    r->tracker->ops->arm(r->tracker, pages);
    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        hl_compare(snapshot, r->memory, run, raced);
    hl_region_doubt_absent(r, snapshot, pages, raced);
}

/* Whole stretches, from *cursor on, with at least PIECE pages to arm. */
static bool next_piece(struct hl_region *r, size_t *cursor, struct hl_run *run)
{
    size_t first = *cursor, found = 0;

    if (first >= r->page_count)
        return false;
    while (found < PIECE && *cursor < r->page_count) {
        size_t left = r->page_count - *cursor;
        struct hl_run one = {*cursor, left < WIDE ? left : WIDE};
        found += hl_pages_count_in(&r->todo, one);
        *cursor += one.count;
    }
    *run = (struct hl_run){first, *cursor - first};
    return true;
}

/* What is written and stays unarmed, past the caches if it is so much; what is
 * left in r->differs is also in r->todo. */
static void put_back_hot(struct hl_region *r,
                         const struct hl_snapshot *snapshot,
                         struct hl_applied *done)
{
    size_t size = hl_pages_count(&r->differs) * hl_page_size();

    hl_pages_copy(&r->piece, &r->differs);
    hl_pages_andnot(&r->piece, &r->todo);
    apply(r, snapshot, &r->piece, hl_copy_is_past(size), done);
    hl_pages_andnot(&r->differs, &r->piece);
}

void hl_region_put_back_all(struct hl_region *r,
                            const struct hl_snapshot *snapshot,
                            struct hl_applied *done)
{
    struct hl_run all = {0, r->page_count};
    bool past = hl_copy_is_past(all.count * hl_page_size());

    hl_spend(all.count * HL_COST_LOOK);
    hl_hot_epoch(&r->hot, &r->dirty);
    hl_apply(snapshot, r->memory, all, past, done);
    if (past)
        hl_copy_past_end();
    hl_pages_empty(&r->pending);
}

void hl_region_put_back(struct hl_region *r,
                        const struct hl_snapshot *snapshot,
                        struct hl_applied *done)
{
    struct hl_run run;

    hl_region_leave_hot(r);
    put_back_hot(r, snapshot, done);
    if (hl_pages_count(&r->todo) <= PIECE) {
        apply(r, snapshot, &r->differs, false, done);
        hl_pages_empty(&r->pending);
        if (!hl_region_nothing_cold(r))
            arm(r, snapshot, &r->todo, &r->pending);
        return;
    }
    struct hl_pages *raced = &r->dirty;
    hl_pages_empty(raced);
    for (size_t at = 0; next_piece(r, &at, &run);) {
        hl_pages_copy_in(&r->piece, &r->differs, run);
        apply(r, snapshot, &r->piece, false, done);
        hl_pages_copy_in(&r->piece, &r->todo, run);
        arm(r, snapshot, &r->piece, raced);
        r->stats.pieces++;
    }
    hl_pages_copy(&r->pending, raced);
}
