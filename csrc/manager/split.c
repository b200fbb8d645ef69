#include "manager/split.h"

#include <stdlib.h>

#include "inject.h"
#include "os/memory.h"

/* Clean epochs after which a block is ripe: at first, at most. */
#define QUIET_AT_FIRST 8
#define QUIET_AT_MOST 4096

/* In an epoch one in so many split blocks is looked at, and one in so many of
 * those that there were is mended: together within 64. */
#define LOOKS 8
#define SHARE 40

/* A block that is split again within so many epochs should have been left
 * alone: mending had not paid off. */
#define TOO_SOON 1024

int hl_split_init(struct hl_split *split, const void *addr, size_t page_count)
{
    size_t size = hl_page_size();
    struct hl_grid grid =
        hl_grid_of(addr, page_count, size, HL_HUGE_SIZE / size);
    struct hl_run whole = hl_grid_whole(&grid);
    size_t end = whole.first + whole.count;

    *split = (struct hl_split){0};
    if (whole.count == 0 || !hl_huge_is_wanted())
        return 0;
    *split = (struct hl_split){
        .grid = grid,
        .first = whole.first,
        .end = end,
        .seen = calloc(end, sizeof *split->seen),
        .mended = calloc(end, sizeof *split->mended),
        .quiet = QUIET_AT_FIRST,
    };
    if (split->seen && split->mended &&
        hl_pages_init(&split->blocks, end) == 0)
        return 0;
    hl_split_free(split);
    return -ENOMEM;
}

void hl_split_free(struct hl_split *split)
{
    hl_pages_free(&split->blocks);
    free(split->seen);
    free(split->mended);
    *split = (struct hl_split){0};
}

/* Most of what was mended pays off, or the wait gets longer. */
static void learn(struct hl_split *split)
{
    if (split->undone * 4 > split->done) {
        split->quiet *= 4;
        if (split->quiet > QUIET_AT_MOST)
            split->quiet = QUIET_AT_MOST;
        split->done = split->undone = 0;
    } else if (split->done > 0 && split->epoch - split->last > TOO_SOON) {
        split->quiet = QUIET_AT_FIRST;
        split->done = split->undone = 0;
    }
}

static void found_dirty(struct hl_split *split, size_t block)
{
    split->seen[block] = split->epoch;
    if (hl_pages_has(&split->blocks, block))
        return;
    hl_pages_add(&split->blocks, block);
    if (split->mended[block] &&
        split->epoch - split->mended[block] <= TOO_SOON)
        split->undone++;
    split->mended[block] = 0;
}

void hl_split_epoch(struct hl_split *split, const struct hl_pages *dirty)
{
    if (split->end == 0)
        return;
    split->epoch++;
    for (size_t page = hl_pages_next(dirty, 0); page < dirty->page_count;) {
        size_t block = hl_grid_block(&split->grid, page);
        if (block >= split->first && block < split->end)
            found_dirty(split, block);
        page = hl_pages_next(dirty, hl_grid_start(&split->grid, block + 1));
    }
    learn(split);
    size_t count = hl_pages_count(&split->blocks);
    if (count == 0 || count > split->most)
        split->most = count;
    split->left = (split->most + SHARE - 1) / SHARE;
    split->looks = (count + LOOKS - 1) / LOOKS;
}

bool hl_split_next(struct hl_split *split, struct hl_run *pages)
{
    while (split->left > 0 && split->looks-- > 0) {
        size_t block = hl_pages_next(&split->blocks, split->cursor);
        if (block == split->end)
            block = hl_pages_next(&split->blocks, 0);
        if (block == split->end)
            break;
        split->cursor = block + 1;
        if (split->epoch - split->seen[block] < split->quiet &&
            !HL_INJECT(HL_INJECT_RIPE))
            continue;
        split->left--;
        *pages = hl_grid_pages(&split->grid, (struct hl_run){block, 1});
        return true;
    }
    split->left = 0;
    return false;
}

void hl_split_done(struct hl_split *split, struct hl_run pages, bool mended)
{
    size_t block = hl_grid_block(&split->grid, pages.first);

    hl_pages_remove(&split->blocks, block);
    if (!mended)
        return;
    split->mended[block] = split->epoch;
    split->last = split->epoch;
    split->done++;
}
