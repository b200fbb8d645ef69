/* The first step of every call on a region: which pages may differ from what
 * is current.  region.c alone uses it, under the region's thread rule. */
#ifndef HL_MANAGER_COLLECT_H
#define HL_MANAGER_COLLECT_H

#include "base.h"
#include "manager/region.h"

/* Those pages, into r->dirty.  In a child of fork the tracker is opened anew
 * first; where the tracker cannot tell, all of them.  -errno: there is no
 * tracker, and nothing changed. */
int hl_region_collect(struct hl_region *r) HL_MUST_CHECK;

/* Of those pages, zero what is scratch: only that can be other than zero. */
void hl_region_zero_scratch(struct hl_region *r);

/* hl_spend, of the next step's cost for each of these pages. */
void hl_region_spend(const struct hl_pages *pages, uint64_t each);

/* After that, before these pages are touched in the ways of `prot`: 0, or what
 * hl_mappings_can_touch says. */
int hl_region_may_touch(const struct hl_region *r,
                        const struct hl_pages *pages, int prot) HL_MUST_CHECK;

#endif
