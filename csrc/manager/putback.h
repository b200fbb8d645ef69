/* The second half of a restore: what was found to differ is written, and
 * armed.  region.c alone uses it, under the region's thread rule. */
#ifndef HL_MANAGER_PUTBACK_H
#define HL_MANAGER_PUTBACK_H

#include "base.h"
#include "manager/region.h"

/* Whether any page is ever armed: if not, this is a plain copy, which passes
 * over bitmaps would slow down in a small region. */
static inline bool hl_region_nothing_cold(const struct hl_region *r)
{
    return !r->tracker->ops->arms || r->hot.count == r->page_count;
}

/* Leave the hot pages unarmed, and take them out of r->todo: a page that
 * always counts as dirty (M2) needs nothing more done. */
void hl_region_leave_hot(struct hl_region *r);

/* Add to doubted those of the pages, just armed, that are armed by their
 * absence and not zero in the snapshot (M4). */
void hl_region_doubt_absent(const struct hl_region *r,
                            const struct hl_snapshot *snapshot,
                            const struct hl_pages *pages,
                            struct hl_pages *doubted);

/* Un-arm r->todo, all of it armed and about to be written: by the run, or,
 * where that would take longer than to copy everything, wide stretches at a
 * time, whose pages are hot from then on. */
void hl_region_unarm(struct hl_region *r);

/* While every page is hot, and none is to be looked at: make all of the memory
 * equal to the snapshot.  An epoch of its own. */
void hl_region_put_back_all(struct hl_region *r,
                            const struct hl_snapshot *snapshot,
                            struct hl_applied *done);

/* Make r->differs equal to the snapshot, arm r->todo without the hot pages,
 * and leave in r->pending those that another thread wrote in between.  Uses
 * r->dirty and r->piece. */
void hl_region_put_back(struct hl_region *r,
                        const struct hl_snapshot *snapshot,
                        struct hl_applied *done);

#endif
