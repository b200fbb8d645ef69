/* Descriptors, and what they are open to. */
#ifndef HL_ABI_LINUX_DESCRIPTORS_H
#define HL_ABI_LINUX_DESCRIPTORS_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_close, hl_linux_dup, hl_linux_dup2, hl_linux_dup3,
    hl_linux_fcntl, hl_linux_ioctl, hl_linux_close_range;

/* A new descriptor of a new description of that kind, which the caller fills
 * in further.  -EMFILE. */
int64_t hl_linux_open(struct hl_linux *linux_, enum hl_linux_kind kind,
                      uint64_t flags, struct hl_linux_open **out);

/* The same, of a node of the tree. */
int64_t hl_linux_open_node(struct hl_linux *linux_, uint32_t node,
                           uint64_t flags);

/* It was never told of: as if it had not been opened. */
void hl_linux_unopen(struct hl_linux *linux_, int64_t fd);

#endif
