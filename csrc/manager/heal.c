#include "manager/heal.h"

#include "manager/putback.h"
#include "mem/grid.h"
#include "os/memory.h"
#include "os/others.h"
#include "os/vma.h"
#include "track/look.h"

/* Arming splits huge pages, and copying small ones takes about 5 % longer:
 * after this many full copies in a row, huge pages are made whole again, all
 * of them in at most so many steps, one in each full copy.  A step takes as
 * long as three or four copies of what it makes whole. */
#define COLLAPSE_AFTER 16
#define COLLAPSE_STEPS 64

/* If they are split again, the next wait is so many times as long, up to a
 * limit. */
#define LONGER 4
#define LONGEST 4096

/* Asked once, when the first block is ripe: it may take as long as mending
 * that. */
static bool wants_huge(struct hl_region *r)
{
    if (!r->asked_for_huge)
        r->wants_huge = hl_huge_is_wanted() && hl_vma_wants_huge(r->memory);
    r->asked_for_huge = true;
    return r->wants_huge;
}

/* The blocks of the next step; none behind the last one. */
static struct hl_run next_step(const struct hl_region *r,
                               const struct hl_grid *grid)
{
    struct hl_run whole = hl_grid_whole(grid);
    size_t each = (whole.count + COLLAPSE_STEPS - 1) / COLLAPSE_STEPS;
    size_t done = (r->plain_copies - r->collapse_after) * each;
    size_t left = done < whole.count ? whole.count - done : 0;

    return (struct hl_run){whole.first + done, left < each ? left : each};
}

static void collapse_step(struct hl_region *r)
{
    size_t page = hl_page_size(), pages = HL_HUGE_SIZE / page;
    struct hl_grid grid = hl_grid_of(r->memory, r->page_count, page, pages);
    struct hl_run blocks = next_step(r, &grid);

    if (blocks.count == 0)
        return;
    r->plain_copies++;
    hl_let_others_run();
    for (size_t i = 0; i < blocks.count && wants_huge(r); i++) {
        char *at = r->memory + hl_grid_start(&grid, blocks.first + i) * page;
        /* Making a huge page of pages that are not this process's alone would
         * take memory that nobody asked for. */
        if (hl_look_is_own(at, pages))
            r->stats.collapsed += hl_memory_collapse(at, HL_HUGE_SIZE);
    }
}

static void collapse_if_worth(struct hl_region *r)
{
    if (r->collapse_after == 0)
        r->collapse_after = COLLAPSE_AFTER;
    if (r->hot.count < r->page_count) {
        if (r->plain_copies > r->collapse_after && r->collapse_after < LONGEST)
            r->collapse_after *= LONGER;
        r->plain_copies = 0;
    } else if (r->plain_copies < r->collapse_after) {
        r->plain_copies++;
    } else {
        collapse_step(r);
    }
}

static bool has_any(const struct hl_pages *set, struct hl_run run)
{
    return hl_pages_next(set, run.first) < run.first + run.count;
}

/* The kernel makes a huge page of pages that are not armed only.  A write by
 * another thread before they are armed again would be forgotten, so they are
 * pending meanwhile (M3), and then compared, as a restore does. */
static void mend(struct hl_region *r, struct hl_run block)
{
    char *at = r->memory + block.first * hl_page_size();

    if (has_any(&r->hot.pages, block) || has_any(&r->pending, block))
        return; /* arming the rest would split it again: later */
    hl_let_others_run();
    if (!hl_look_is_split(at, block.count)) {
        hl_split_done(&r->split, block, false);
        return;
    }
    hl_pages_add_range(&r->pending, block);
    r->tracker->ops->disarm(r->tracker, block);
    bool whole = hl_memory_collapse(at, HL_HUGE_SIZE);
    hl_pages_empty(&r->todo);
    hl_pages_add_range(&r->todo, block);
    r->tracker->ops->arm(r->tracker, &r->todo);
    hl_pages_remove_range(&r->pending, block);
    hl_compare(r->current, r->memory, block, &r->pending);
    hl_region_doubt_absent(r, r->current, &r->todo, &r->pending);
    hl_split_done(&r->split, block, whole);
    r->stats.collapsed += whole;
}

void hl_region_heal(struct hl_region *r)
{
    struct hl_run block;

    collapse_if_worth(r);
    if (r->split.end == 0 || !r->tracker->ops->walks_tables ||
        r->hot.count == r->page_count || (r->borrowed && !r->intact))
        return;
    while (hl_split_next(&r->split, &block)) {
        if (!wants_huge(r)) {
            hl_split_free(&r->split);
            return;
        }
        mend(r, block);
    }
}
