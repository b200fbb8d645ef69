/* How a program finds its stack (System V ABI for x86-64, 3.4.1): argc, argv,
 * its environment, and the auxiliary vector. */
#ifndef HL_ABI_LINUX_STACK_H
#define HL_ABI_LINUX_STACK_H

#include "abi/abi.h"

/* Fill in the end of the stack, where *rsp begins.  interpreter: where that
 * is, or 0.  -E2BIG: the texts take
 * more than a quarter of it; -EINVAL: they are not as many as they should be.
 * `why` has a sentence. */
int hl_linux_fill_stack(const struct hl_abi_config *config,
                        const struct hl_vm_config *vm, uint64_t interpreter,
                        uint64_t *rsp, char *why) HL_MUST_CHECK;

#endif
