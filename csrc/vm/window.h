/* A guest's memory, as an ABI reads and writes it.
 *
 *  W1. What the guest could not read itself is not read for it, and what it
 *      could not write is not written for it.
 *  W2. What is about to be written is told to `written` before: a machine's
 *      tracker finds the guest's writes only.
 *
 * The guest stands still meanwhile. */
#ifndef HL_VM_WINDOW_H
#define HL_VM_WINDOW_H

#include "base.h"
#include "vm/driver.h"

struct hl_window {
    const struct hl_vm_config *vm;
    void (*written)(void *context, const void *host, size_t size);
    void *context;
};

/* May the guest do that (HL_PERM_*) to all of [addr, +size)?  Whatever slots
 * it lies in. */
bool hl_window_allows(const struct hl_window *window, uint64_t addr,
                      uint64_t size, unsigned perm);

/* Where the host has [addr, +size), which lies in one slot, or NULL: the guest
 * may not do that there, or nothing is there, or size is 0. */
const void *hl_window_read(const struct hl_window *window, uint64_t addr,
                           uint64_t size);
void *hl_window_write(const struct hl_window *window, uint64_t addr,
                      uint64_t size);

/* The same for memory that the guest cannot reach: the host's own. */
void hl_window_own(const struct hl_window *window, const void *host,
                   size_t size);

#endif
