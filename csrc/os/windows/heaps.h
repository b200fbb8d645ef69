/* The process's heaps: where malloc keeps blocks, and this library's among
 * them. */
#ifndef HL_OS_WINDOWS_HEAPS_H
#define HL_OS_WINDOWS_HEAPS_H

#include "base.h"

/* Does [start, end) touch memory that a heap manages, and is it not within one
 * of its blocks?  Restoring it would overwrite other blocks, or what the heap
 * knows of them.  Costs a step for each block of the heaps, which are locked
 * meanwhile one after the other. */
bool hl_heaps_own(uintptr_t start, uintptr_t end);

#endif
