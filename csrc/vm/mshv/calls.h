/* The system calls by which the mshv driver speaks to the kernel: one table,
 * so that the driver can be tested where there is no Hyper-V. */
#ifndef HL_VM_MSHV_CALLS_H
#define HL_VM_MSHV_CALLS_H

#include "base.h"

/* As open, ioctl and close: -1 with errno. */
struct hl_mshv_calls {
    int (*open)(const char *path, int flags);
    int (*ioctl)(int fd, unsigned long request, void *argument);
    int (*close)(int fd);
};

/* The kernel's, unless tests said otherwise. */
extern const struct hl_mshv_calls *hl_mshv_calls;

/* Each EAGAIN is a page that the kernel gave to the hypervisor meanwhile, and
 * what it needs is counted in hundreds. */
#define HL_MSHV_TRIES 4096

/* An ioctl that is made again where the kernel asks for it, with the argument
 * as it was.  -errno. */
int hl_mshv_ioctl(const struct hl_mshv_calls *calls, int fd,
                  unsigned long request, void *argument) HL_MUST_CHECK;

/* From now on, for machines that are made then; NULL: the kernel's. */
void hl_mshv_use_calls(const struct hl_mshv_calls *calls);

#endif
