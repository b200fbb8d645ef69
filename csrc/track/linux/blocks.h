/* Blocks: the pages that share one page table, 2 MiB where a page has 4 KiB.
 *
 * A page that does not exist can be armed by a marker in its page table.  In
 * sparse memory such markers would take a page table for each block, and time
 * for each of its pages in each scan: 32 MiB and 14 ms for 16 GiB.  So where
 * no page of a block exists, its pages are armed without one:
 *
 *  B1. In a bare block a page that is not open is armed by its absence.  Once
 *      it exists, it was touched, and is reported; a page of zeros that was
 *      only read does not count.  An absent page reads as zero, so this is for
 *      private anonymous memory alone.
 *      A page that was touched and then dropped is absent again and not
 *      reported; it is zero again, too (T7 of track.h).
 *  B2. In a marked block a page that is not open is armed by a mark, of its
 *      own or by a marker.
 *  B3. A block is marked before the first page in it is armed by a mark, and
 *      stays so: the page tables are there.
 *
 * Threads: as the tracker's. */
#ifndef HL_TRACK_LINUX_BLOCKS_H
#define HL_TRACK_LINUX_BLOCKS_H

#include "base.h"
#include "mem/grid.h"
#include "mem/pages.h"

struct hl_blocks {
    struct hl_grid grid;
    size_t bare; /* blocks; 0: nothing below needs to be looked at */
    struct hl_pages marked; /* of blocks */
    struct hl_pages fresh;  /* the same: marked, and nothing in it armed yet */
};

/* For [addr, +page_count), all bare or all marked; or -ENOMEM. */
int hl_blocks_init(struct hl_blocks *blocks, const void *addr,
                   size_t page_count, bool bare) HL_MUST_CHECK;
/* Does nothing on one that is zeroed. */
void hl_blocks_free(struct hl_blocks *blocks);

/* The next stretch of pages in [*cursor, end), all of them in bare blocks or
 * all in marked ones (*bare says which); *cursor moves behind it.  False at
 * the end. */
bool hl_blocks_next(const struct hl_blocks *blocks, size_t *cursor, size_t end,
                    struct hl_run *stretch, bool *bare);

/* All blocks that have a page in the run are marked from now on; those that
 * were bare are fresh. */
void hl_blocks_mark(struct hl_blocks *blocks, struct hl_run run);

/* Take the next stretch of fresh blocks out of that set, and return their
 * pages; false if there is none. */
bool hl_blocks_take_fresh(struct hl_blocks *blocks, struct hl_run *pages);

#endif
