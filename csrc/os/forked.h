/* Fork: noticing that this process is a child of the one that set things up.
 *
 * After fork() a userfaultfd, a pagemap descriptor and the like still belong
 * to the parent.  Code that holds one remembers the generation and compares it
 * before each use.  os/lock.c changes the number, and handles locks at a fork.
 */
#ifndef HL_OS_FORKED_H
#define HL_OS_FORKED_H

#include "base.h"

/* A number that is different in a child.  Costs one load. */
unsigned hl_fork_generation(void);

/* This thread, by a number that no other had: never 0.  The thread that forks
 * keeps its number in the child... */
uintptr_t hl_thread_number(void);
/* ...and is the only one of its parent's that a child has. */
bool hl_thread_forked(uintptr_t number);

#endif
