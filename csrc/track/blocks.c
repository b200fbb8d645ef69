#include "track/blocks.h"

#include "os/map.h"

/* A page table has as many entries as a page has words (x86, arm64). */
int hl_blocks_init(struct hl_blocks *blocks, const void *addr,
                   size_t page_count, bool bare)
{
    size_t size = hl_page_size(), each = size / sizeof(uint64_t);
    size_t skew = (uintptr_t)addr / size % each;
    size_t count = (skew + page_count + each - 1) / each;

    *blocks =
        (struct hl_blocks){page_count, each, skew, bare ? count : 0, {0}, {0}};
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

static size_t block_of(const struct hl_blocks *blocks, size_t page)
{
    return (page + blocks->skew) / blocks->each;
}

/* The first page of a block, or of the region. */
static size_t start_of(const struct hl_blocks *blocks, size_t block)
{
    size_t page = block * blocks->each;

    return page > blocks->skew ? page - blocks->skew : 0;
}

bool hl_blocks_next(const struct hl_blocks *blocks, size_t *cursor, size_t end,
                    struct hl_run *stretch, bool *bare)
{
    size_t first = *cursor, after = end;

    if (first >= end)
        return false;
    *bare = false;
    if (blocks->bare > 0) {
        size_t block = block_of(blocks, first);
        struct hl_run marked = {block, 0};

        *bare = !hl_pages_has(&blocks->marked, block);
        if (*bare)
            block = hl_pages_next(&blocks->marked, block);
        else if (hl_pages_run(&blocks->marked, &block, &marked))
            block = marked.first + marked.count;
        after = start_of(blocks, block);
    }
    *cursor = after < end ? after : end;
    *stretch = (struct hl_run){first, *cursor - first};
    return true;
}

void hl_blocks_mark(struct hl_blocks *blocks, struct hl_run run)
{
    size_t block = block_of(blocks, run.first);
    size_t end = block_of(blocks, run.first + run.count - 1) + 1;

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
    size_t first = start_of(blocks, run.first);
    size_t end = start_of(blocks, run.first + run.count);
    if (end > blocks->page_count)
        end = blocks->page_count;
    *pages = (struct hl_run){first, end - first};
    return true;
}
