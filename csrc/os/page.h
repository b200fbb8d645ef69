/* What the kernel knows of single pages of our address space: whether they can
 * be touched, and what /proc/self/pagemap says of them (pagemap.rst). */
#ifndef HL_OS_PAGE_H
#define HL_OS_PAGE_H

#include "base.h"
#include "mem/pages.h"

/* Can this process write to addr now?  Asked by adding zero to the 32-bit word
 * there in a futex operation, which changes nothing and reports a refusal
 * instead of raising a signal.  Async-signal-safe. */
bool hl_is_writable(uintptr_t addr);
/* Can it read there?  Asked with a signal mask that the kernel reads before it
 * refuses the call.  Async-signal-safe. */
bool hl_is_readable(uintptr_t addr);
/* If it cannot: is the reason that the file ends before it, rather than a
 * missing permission?  False before Linux 5.14.  Async-signal-safe. */
bool hl_is_behind_end(uintptr_t addr);

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

/* Are all pages of [addr, +size) in memory, so that nobody has to provide one
 * before they can be read?  False where that cannot be told.  Costs 1 us and
 * as hl_pagemap_find. */
bool hl_is_in_memory(const void *addr, size_t size);

#endif
