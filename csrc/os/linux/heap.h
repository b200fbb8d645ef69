/* The process's own heap: the break, where malloc keeps small blocks, and this
 * library's among them. */
#ifndef HL_OS_LINUX_HEAP_H
#define HL_OS_LINUX_HEAP_H

#include "base.h"

/* Does [start, end), which lies in the break, lie within one block allocated
 * by malloc?  Then it can be restored without affecting other blocks, or
 * malloc's data about them.  Also false if that is unknown: with an allocator
 * other than glibc's, or if other code moves the break.  Costs a step for each
 * block below. */
bool hl_heap_is_in_block(uintptr_t start, uintptr_t end);

#endif
