/* Guest memory as the host has it. */
#ifndef HL_VM_SLOTS_H
#define HL_VM_SLOTS_H

#include "base.h"
#include "vm/driver.h"

/* Host memory of guest memory [addr, +size), which must lie within one slot;
 * NULL otherwise. */
void *hl_vm_host(const struct hl_vm_config *vm, uint64_t addr, uint64_t size);

/* What the guest may do (HL_PERM_*) at this address, and up to where it is the
 * same; 0: nothing is there. */
unsigned hl_vm_perms(const struct hl_vm_config *vm, uint64_t addr,
                     uint64_t *end);

#endif
