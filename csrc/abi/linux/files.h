/* Reading and writing by descriptors, whatever they are open to. */
#ifndef HL_ABI_LINUX_FILES_H
#define HL_ABI_LINUX_FILES_H

#include "abi/linux/kinds.h"

#define HL_LINUX_PIECES 1024 /* IOV_MAX */

hl_linux_call hl_linux_read, hl_linux_write, hl_linux_readv, hl_linux_writev,
    hl_linux_pread, hl_linux_pwrite, hl_linux_preadv, hl_linux_pwritev,
    hl_linux_lseek, hl_linux_ftruncate, hl_linux_fallocate, hl_linux_fsync;

/* Into pieces[HL_LINUX_PIECES], read once: how many there are, or -EFAULT,
 * -EINVAL. */
int64_t hl_linux_get_pieces(const struct hl_linux *linux_, uint64_t addr,
                            uint64_t count, struct hl_linux_piece *pieces);

#endif
