/* What a program is told of others, since there are none; and which calls are
 * refused.
 *
 * What Linux may be built without, or an older one has not, is ENOSYS: for
 * that programs have another way, or say that it is missing.  New processes
 * and threads are, too: with EAGAIN some would try again, and EPERM would
 * point at rights that somebody could give.  What only the owner of a machine
 * may do is EPERM, attributes of files are EOPNOTSUPP, as where a file system
 * has none. */
#ifndef HL_ABI_LINUX_ALONE_H
#define HL_ABI_LINUX_ALONE_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_wait4, hl_linux_setsid, hl_linux_getpgid,
    hl_linux_to_root, hl_linux_getcpu, hl_linux_sched_getscheduler,
    hl_linux_sched_getparam, hl_linux_sched_priority_max,
    hl_linux_sched_priority_min, hl_linux_getpriority, hl_linux_personality,
    hl_linux_mincore;

/* -errno of a call that is not served. */
int hl_linux_refusal(uint64_t number);

#endif
