/* Huge pages that tracking split, and when to make them whole again.
 *
 * The first write to an armed huge page splits it, and a scan of its 512 small
 * pages takes 8 times as long as one of a huge page.  Making it whole again
 * costs a copy and a comparison of 2 MiB, some 300 us, which takes hundreds of
 * restores to pay off.  So it is done for blocks in which nothing was written
 * for some epochs; a few of them in each epoch, so that all are whole within
 * 64.  If many are split again soon, that was a mistake, and the next wait is
 * four times as long, up to a limit.
 *
 *   whole ---- dirty ----> split ---- `quiet` clean epochs ----> ripe
 *     ^                      ^                                    |
 *     |                      +---------------- dirty -------------+
 *     +------------- hl_split_done, by the caller -----------------+
 *
 * This is only advice: no decision made here can lose a write.  Threads: as
 * the region's. */
#ifndef HL_MANAGER_SPLIT_H
#define HL_MANAGER_SPLIT_H

#include "base.h"
#include "mem/grid.h"
#include "mem/pages.h"

struct hl_split {
    struct hl_grid grid; /* of huge pages */
    size_t first, end;   /* blocks that are in the region as a whole */
    struct hl_pages
        blocks;       /* split, or never looked at since they were dirty */
    uint32_t *seen;   /* a block: the last epoch it was dirty in */
    uint32_t *mended; /* a block: the epoch it was made whole in, or 0 */
    uint32_t epoch;
    uint32_t quiet;      /* clean epochs after which a block is ripe */
    uint32_t last;       /* the last epoch in which a block was made whole */
    size_t done, undone; /* made whole; and of those, split again too soon */
    size_t most;         /* split at the same time, since none was */
    size_t cursor;       /* the block to look at next */
    size_t looks, left;  /* in this epoch: blocks to look at, and to mend */
};

/* For [addr, +page_count); or -ENOMEM.  A zeroed one is for memory that is
 * never mended, and takes no call but hl_split_free and hl_split_epoch. */
int hl_split_init(struct hl_split *split, const void *addr,
                  size_t page_count) HL_MUST_CHECK;
void hl_split_free(struct hl_split *split);

/* A new epoch, in which these pages were found dirty. */
void hl_split_epoch(struct hl_split *split, const struct hl_pages *dirty);

/* The pages of the next block that is to be made whole in this epoch, or
 * false. */
bool hl_split_next(struct hl_split *split, struct hl_run *pages);

/* That block: made whole (mended), or not worth another look until it is dirty
 * again. */
void hl_split_done(struct hl_split *split, struct hl_run pages, bool mended);

#endif
