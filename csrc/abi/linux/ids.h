/* Who the program is, what it may use, and chance. */
#ifndef HL_ABI_LINUX_IDS_H
#define HL_ABI_LINUX_IDS_H

#include "abi/linux/process.h"

/* The only process that there is, whose parent is beyond its sight. */
#define HL_LINUX_PID 2

hl_linux_call hl_linux_getpid, hl_linux_getppid, hl_linux_zero,
    hl_linux_set_tid_address, hl_linux_arch_prctl, hl_linux_prctl,
    hl_linux_uname, hl_linux_sysinfo, hl_linux_prlimit64, hl_linux_getrlimit,
    hl_linux_sched_getaffinity, hl_linux_futex, hl_linux_getrandom,
    hl_linux_exit, hl_linux_getgroups, hl_linux_getresuid;

#endif
