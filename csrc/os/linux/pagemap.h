/* What /proc/self/pagemap says of single pages (pagemap.rst). */
#ifndef HL_OS_LINUX_PAGEMAP_H
#define HL_OS_LINUX_PAGEMAP_H

#include "base.h"
#include "mem/pages.h"

#define HL_PAGEMAP_SOFT_DIRTY (UINT64_C(1) << 55)
/* In memory, mapped here and nowhere else, and not the page of zeros. */
#define HL_PAGEMAP_EXCLUSIVE (UINT64_C(1) << 56)
#define HL_PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define HL_PAGEMAP_PRESENT (UINT64_C(1) << 63)

/* Add to found the pages from addr on, as many as found has room for, whose
 * entry in /proc/self/pagemap has any bit of `mask`.  Costs 8 bytes of copying
 * a page: some 3 ms a GiB. */
int hl_pagemap_find(const void *addr, uint64_t mask,
                    struct hl_pages *found) HL_MUST_CHECK;

#endif
