#include "manager/heal.h"

#include "manager/putback.h"
#include "os/map.h"
#include "os/memory.h"
#include "os/others.h"
#include "os/page.h"
#include "os/vma.h"
#include "track/scan.h"

/* Arming splits huge pages, and copying small ones takes about 5 % longer:
 * after this many full copies in a row, huge pages are made whole again. */
#define COLLAPSE_AFTER 16

static void collapse_if_worth(struct hl_region *r)
{
    if (r->hot.count < r->page_count)
        r->plain_copies = 0;
    else if (r->plain_copies <= COLLAPSE_AFTER &&
             ++r->plain_copies == COLLAPSE_AFTER)
        r->stats.collapsed +=
            hl_map_collapse(r->memory, r->page_count * hl_page_size());
}

static bool has_any(const struct hl_pages *set, struct hl_run run)
{
    return hl_pages_next(set, run.first) < run.first + run.count;
}

/* Whether all pages there are in memory, this process's alone, and not a huge
 * page.  Making one of a block with pages that are absent, swapped out, or
 * shared with a fork's child would take memory that nobody asked for.  The
 * region is registered, which the second scan checks. */
static bool is_split(const char *at, size_t pages)
{
    struct hl_run all = {0, pages};
    struct hl_pages found;
    struct hl_scan scan = {0};
    bool split = false;

    if (hl_pages_init(&found, pages) < 0)
        return false;
    if (hl_scan_open(&scan) == 0 &&
        hl_scan_find(&scan, HL_SCAN_HUGE, at, all, &found) == 0 &&
        hl_pages_count(&found) == 0 &&
        hl_scan_find(&scan, HL_SCAN_EXISTS, at, all, &found) == 0 &&
        hl_pages_count(&found) == pages) {
        hl_pages_empty(&found);
        split = hl_pagemap_find(at, HL_PAGEMAP_EXCLUSIVE, &found) == 0 &&
                hl_pages_count(&found) == pages;
    }
    hl_pages_free(&found);
    return split;
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
    if (!is_split(at, block.count)) {
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

/* Asked once, when the first block is ripe: it may take as long as mending
 * that. */
static bool wants_huge(struct hl_region *r)
{
    if (!r->asked_for_huge && !hl_vma_wants_huge(r->memory))
        hl_split_free(&r->split);
    r->asked_for_huge = true;
    return r->split.end > 0;
}

void hl_region_heal(struct hl_region *r)
{
    struct hl_run block;

    collapse_if_worth(r);
    if (r->split.end == 0 || !r->tracker->ops->walks_tables ||
        r->hot.count == r->page_count || (r->borrowed && !r->intact))
        return;
    while (hl_split_next(&r->split, &block) && wants_huge(r))
        mend(r, block);
}
