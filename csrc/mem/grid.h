/* A region's pages by aligned blocks of memory, such as those that share a
 * page table or can be one huge page.
 *
 * Block 0 is the one that page 0 lies in.  It may begin before the region, as
 * the last one may end behind it. */
#ifndef HL_MEM_GRID_H
#define HL_MEM_GRID_H

#include "base.h"
#include "mem/runs.h"

struct hl_grid {
    size_t page_count;
    size_t each; /* pages a block */
    size_t skew; /* pages of block 0 that lie before the region */
};

/* Of [addr, +page_count), in blocks of so many pages. */
static inline struct hl_grid hl_grid_of(const void *addr, size_t page_count,
                                        size_t page_size, size_t each)
{
    return (struct hl_grid){page_count, each,
                            (uintptr_t)addr / page_size % each};
}

/* Blocks that have a page of the region. */
static inline size_t hl_grid_count(const struct hl_grid *grid)
{
    return (grid->skew + grid->page_count + grid->each - 1) / grid->each;
}

/* Blocks that are in the region as a whole: [first, +count). */
static inline struct hl_run hl_grid_whole(const struct hl_grid *grid)
{
    size_t first = grid->skew ? 1 : 0;
    size_t end = (grid->skew + grid->page_count) / grid->each;

    return (struct hl_run){first, end > first ? end - first : 0};
}

/* The block that a page lies in. */
static inline size_t hl_grid_block(const struct hl_grid *grid, size_t page)
{
    return (page + grid->skew) / grid->each;
}

/* The first page of a block, or of the region; behind the last block, the
 * region's page_count. */
static inline size_t hl_grid_start(const struct hl_grid *grid, size_t block)
{
    size_t at = block * grid->each;
    size_t page = at > grid->skew ? at - grid->skew : 0;

    return page < grid->page_count ? page : grid->page_count;
}

/* The region's pages of a run of blocks. */
static inline struct hl_run hl_grid_pages(const struct hl_grid *grid,
                                          struct hl_run blocks)
{
    size_t first = hl_grid_start(grid, blocks.first);

    return (struct hl_run){
        first, hl_grid_start(grid, blocks.first + blocks.count) - first};
}

#endif
