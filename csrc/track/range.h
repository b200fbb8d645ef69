/* The ranges of this process that are tracked: one tracker to a page. */
#ifndef HL_TRACK_RANGE_H
#define HL_TRACK_RANGE_H

#include "base.h"

/* Claim [addr, addr + size).  -EEXIST: it shares a byte with a range claimed
 * before; touching is allowed.  -ENOMEM: out of memory.  `why` (HL_WHY_SIZE)
 * gets a sentence then.  Any thread. */
int hl_range_claim(const void *addr, size_t size, char *why) HL_MUST_CHECK;
/* Give back what was claimed with this addr.  Any thread. */
void hl_range_release(const void *addr);

/* The first claimed range that shares a byte with [addr, addr + size), if
 * there is one.  Any thread. */
bool hl_range_find(const void *addr, size_t size, uintptr_t *start,
                   uintptr_t *end);

size_t hl_range_count(void);

#endif
