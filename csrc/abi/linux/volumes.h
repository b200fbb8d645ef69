/* The file system as a whole, and what its files cannot do. */
#ifndef HL_ABI_LINUX_VOLUMES_H
#define HL_ABI_LINUX_VOLUMES_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_statfs, hl_linux_fstatfs, hl_linux_flock,
    hl_linux_linkat, hl_linux_mknodat, hl_linux_fchown, hl_linux_fchownat,
    hl_linux_fadvise64, hl_linux_readahead;

#endif
