/* The ranges of this process that are tracked: one tracker to a page. */
#ifndef HL_TRACK_RANGE_H
#define HL_TRACK_RANGE_H

#include "base.h"

/* Claim [addr, addr + size).  -EEXIST: it shares a byte with a range claimed
 * before, which *other_addr and *other_size describe; touching is allowed.
 * -ENOMEM: out of memory.  Any thread. */
int hl_range_claim(const void *addr, size_t size, const void **other_addr,
                   size_t *other_size) HL_MUST_CHECK;
/* Give back what was claimed with this addr.  Any thread. */
void hl_range_release(const void *addr);

size_t hl_range_count(void);

#endif
