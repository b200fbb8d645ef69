/* Descriptors, what they are open to, and what is read and written by them. */
#ifndef HL_ABI_LINUX_FILES_H
#define HL_ABI_LINUX_FILES_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_read, hl_linux_write, hl_linux_readv, hl_linux_writev,
    hl_linux_pread, hl_linux_pwrite, hl_linux_close, hl_linux_lseek,
    hl_linux_dup, hl_linux_dup2, hl_linux_dup3, hl_linux_fcntl, hl_linux_ioctl,
    hl_linux_ftruncate, hl_linux_fsync;

/* What a descriptor is open to, or NULL; the node of a file or folder, or 0.
 */
struct hl_linux_open *hl_linux_opened(const struct hl_linux *linux_,
                                      uint64_t fd);
uint32_t hl_linux_node_of(const struct hl_linux *linux_, uint64_t fd);

/* A new descriptor of that node. -EMFILE. */
int64_t hl_linux_open_node(struct hl_linux *linux_, uint32_t node,
                           uint64_t flags);

#endif
