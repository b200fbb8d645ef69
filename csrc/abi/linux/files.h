/* Descriptors, and what they are open to.
 *
 * There are no files yet: only what a program starts with, and copies of
 * those.  Whatever it asks for by a name does not exist. */
#ifndef HL_ABI_LINUX_FILES_H
#define HL_ABI_LINUX_FILES_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_read, hl_linux_write, hl_linux_readv, hl_linux_writev,
    hl_linux_pread, hl_linux_pwrite, hl_linux_close, hl_linux_lseek,
    hl_linux_fstat, hl_linux_newfstatat, hl_linux_by_name, hl_linux_by_name_at,
    hl_linux_dup, hl_linux_dup2, hl_linux_dup3, hl_linux_fcntl, hl_linux_ioctl,
    hl_linux_getcwd, hl_linux_umask;

#endif
