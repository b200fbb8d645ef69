/* The process's own heap: the break, where malloc keeps small blocks, and this
 * library's among them. */
#ifndef HL_OS_HEAP_H
#define HL_OS_HEAP_H

#include "base.h"

/* Does [start, end), which lies in the break, lie within one block that malloc
 * gave out?  Then it can be put back without putting back what malloc knows of
 * other blocks, or those blocks.  False as well where that cannot be told:
 * with an allocator other than glibc's, or with others who move the break.
 * Costs a step for each block below. */
bool hl_heap_is_in_block(uintptr_t start, uintptr_t end);

#endif
