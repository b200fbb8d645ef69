/* Waiting for signals. */
#ifndef HL_ABI_LINUX_SUSPENDS_H
#define HL_ABI_LINUX_SUSPENDS_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_rt_sigsuspend, hl_linux_rt_sigtimedwait;

/* Until the end of this call, signals are blocked as the set at addr says, of
 * that size; after it, or after the handler that ends it, as before.  0 in
 * addr: they stay as they are.  -EFAULT, -EINVAL. */
int hl_linux_swap_mask(struct hl_linux *linux_, uint64_t addr,
                       uint64_t size) HL_MUST_CHECK;
void hl_linux_put_mask_back(struct hl_linux *linux_);

#endif
