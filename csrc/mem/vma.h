/* What the kernel knows of a stretch of our address space, from
 * /proc/self/maps and /proc/self/pagemap (proc(5), pagemap.rst). */
#ifndef HL_MEM_VMA_H
#define HL_MEM_VMA_H

#include "base.h"
#include "mem/pages.h"

struct hl_vma {
    int prot;       /* PROT_*, the same over the whole stretch */
    bool anonymous; /* private, no file behind it: untouched means zero */
};

/* Describe [addr, addr + size).  -ENOMEM: part of it is not mapped; -EINVAL:
 * its parts differ in protection. */
int hl_vma_query(const void *addr, size_t size,
                 struct hl_vma *vma) HL_MUST_CHECK;

/* Does the mapping at addr get huge pages, by its advice and by the system's
 * setting ("THPeligible" of /proc/self/smaps)?  Costs a walk over the tables
 * of what is mapped below it. */
bool hl_vma_wants_huge(const void *addr);

/* Is any page of [addr, +size) swapped out now, as far as that can be known?
 * pagemap does not tell such a page from one that was armed before it was ever
 * touched; "Swap" of /proc/self/smaps does, and /proc/swaps mostly says that
 * there is nothing to look for. */
bool hl_may_be_swapped(const void *addr, size_t size);

/* Can this process write to addr now?  Asked by adding zero to the 32-bit word
 * there in a futex operation, which changes nothing and reports a refusal
 * instead of raising a signal.  Async-signal-safe. */
bool hl_is_writable(uintptr_t addr);
/* Can it read there?  Asked with a signal mask that the kernel reads before it
 * refuses the call.  Async-signal-safe. */
bool hl_is_readable(uintptr_t addr);

#define HL_PAGEMAP_SOFT_DIRTY (UINT64_C(1) << 55)
#define HL_PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define HL_PAGEMAP_PRESENT (UINT64_C(1) << 63)

/* Add to found the pages from addr on, as many as found has room for, whose
 * entry in /proc/self/pagemap has any bit of `mask`.  Costs 8 bytes of copying
 * a page: some 3 ms a GiB. */
int hl_pagemap_find(const void *addr, uint64_t mask,
                    struct hl_pages *found) HL_MUST_CHECK;

#endif
