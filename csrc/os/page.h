/* What the kernel knows of single pages of our address space: whether they can
 * be touched, and whether they are in memory. */
#ifndef HL_OS_PAGE_H
#define HL_OS_PAGE_H

#include "base.h"

/* Can this process write to addr now?  Async-signal-safe. */
bool hl_is_writable(uintptr_t addr);
/* Can it read there?  Async-signal-safe. */
bool hl_is_readable(uintptr_t addr);
/* If it cannot: is the reason that the file ends before it, rather than a
 * missing permission?  False before Linux 5.14, and on Windows.
 * Async-signal-safe. */
bool hl_is_behind_end(uintptr_t addr);

/* Are all pages of [addr, +size) in memory, so that nobody has to provide one
 * before they can be read?  False where that cannot be told.  Costs 1 us and
 * 8 bytes of copying a page. */
bool hl_is_in_memory(const void *addr, size_t size);

#endif
