/* The program's memory: brk and mappings, in the arena.  A program's image and
 * its stack lie elsewhere, and keep the rights that they have.
 *
 * The arena holds, from its start, what brk gave, and from its end downwards
 * mappings; those the program may also put in between. */
#ifndef HL_ABI_LINUX_SPACE_H
#define HL_ABI_LINUX_SPACE_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_brk, hl_linux_mmap, hl_linux_munmap, hl_linux_mremap,
    hl_linux_mprotect, hl_linux_madvise, hl_linux_msync;

#endif
