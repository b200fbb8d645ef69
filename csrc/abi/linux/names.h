/* System calls that name files, and what is told of files. */
#ifndef HL_ABI_LINUX_NAMES_H
#define HL_ABI_LINUX_NAMES_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_openat, hl_linux_newfstatat, hl_linux_fstat,
    hl_linux_statx, hl_linux_faccessat, hl_linux_readlinkat, hl_linux_mkdirat,
    hl_linux_unlinkat, hl_linux_renameat, hl_linux_symlinkat, hl_linux_chdir,
    hl_linux_fchdir, hl_linux_getcwd, hl_linux_truncate, hl_linux_getdents64,
    hl_linux_fchmodat, hl_linux_fchmod, hl_linux_utimensat, hl_linux_umask;

#endif
