/* Fork: noticing that this process is a child of the one that set things up.
 *
 * After fork() a userfaultfd, a pagemap descriptor and the like still belong
 * to the parent.  Whoever holds one remembers the generation and asks again
 * before using it.  What a fork does with locks, and where the number is
 * changed: mem/lock.c. */
#ifndef HL_MEM_FORKED_H
#define HL_MEM_FORKED_H

#include "base.h"

/* A number that is different in a child.  Costs one load. */
unsigned hl_fork_generation(void);

#endif
