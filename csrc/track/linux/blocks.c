#include "track/linux/blocks.h"

#include "os/map.h"

/* A page table has as many entries as a page has words (x86, arm64). */
int hl_blocks_init(struct hl_blocks *blocks, const void *addr,
                   size_t page_count, bool bare)
{
    size_t size = hl_page_size();
    struct hl_grid grid =
        hl_grid_of(addr, page_count, size, size / sizeof(uint64_t));
    size_t count = hl_grid_count(&grid);

    *blocks = (struct hl_blocks){.grid = grid, .bare = bare ? count : 0};
    int err = hl_pages_init(&blocks->marked, count);
    if (err == 0)
        err = hl_pages_init(&blocks->fresh, count);
    if (err == 0 && !bare)
        hl_pages_fill(&blocks->marked);
    return err;
}

void hl_blocks_free(struct hl_blocks *blocks)
{
    hl_pages_free(&blocks->marked);
    hl_pages_free(&blocks->fresh);
}

bool hl_blocks_next(const struct hl_blocks *blocks, size_t *cursor, size_t end,
                    struct hl_run *stretch, bool *bare)
{
    size_t first = *cursor, after = end;

    if (first >= end)
        return false;
    *bare = false;
    if (blocks->bare > 0) {
        size_t block = hl_grid_block(&blocks->grid, first);
        struct hl_run marked = {block, 0};

        *bare = !hl_pages_has(&blocks->marked, block);
        if (*bare)
            block = hl_pages_next(&blocks->marked, block);
        else if (hl_pages_run(&blocks->marked, &block, &marked))
            block = marked.first + marked.count;
        after = hl_grid_start(&blocks->grid, block);
    }
    *cursor = after < end ? after : end;
    *stretch = (struct hl_run){first, *cursor - first};
    return true;
}

void hl_blocks_mark(struct hl_blocks *blocks, struct hl_run run)
{
    const struct hl_grid *grid = &blocks->grid;
    size_t block = hl_grid_block(grid, run.first);
    size_t end = hl_grid_block(grid, run.first + run.count - 1) + 1;

    for (; blocks->bare > 0 && block < end; block++) {
        if (hl_pages_has(&blocks->marked, block))
            continue;
        hl_pages_add(&blocks->marked, block);
        hl_pages_add(&blocks->fresh, block);
        blocks->bare--;
    }
}

bool hl_blocks_take_fresh(struct hl_blocks *blocks, struct hl_run *pages)
{
    struct hl_run run;
    size_t at = 0;

    if (!hl_pages_run(&blocks->fresh, &at, &run))
        return false;
    hl_pages_remove_range(&blocks->fresh, run);
    *pages = hl_grid_pages(&blocks->grid, run);
    return true;
}
