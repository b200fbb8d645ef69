/* A sandbox: a guest in a machine, its memory, its calls, its snapshots.
 *
 *        begin                run: HL_EXIT_CALL
 *   IDLE ------> IN_CALL ---------------------+
 *    ^ ^            |  ^----------------------+
 *    | |   end      |
 *    | +------------+ run: anything else, or nobody ended it
 *    |                      |
 *    +------ restore ---- POISONED
 *
 * A call that is given up in the middle, for whatever reason, leaves IN_CALL,
 * which only a restore ends: so nothing has to be done for a sandbox to be
 * unusable after an error.
 *
 * Memory of the guest is one mapping of the host, slot behind slot.  Slots
 * that are logged lie together; snapshots hold those.  The output buffer is in
 * them and zeroed before a take; the input buffer is not, and what a message
 * leaves of the one before is zeroed before the guest runs.
 *
 * Threads: one call at a time; hl_sandbox_interrupt at any time.  Fork: in a
 * child everything but hl_sandbox_free gives -ECHILD. */
#ifndef HL_SANDBOX_H
#define HL_SANDBOX_H

#include "base.h"
#include "manager.h"
#include "vm/driver.h"
#include "vm/elf.h"

struct hl_sandbox;

struct hl_sandbox_span {
    uint64_t addr, size;
};

struct hl_sandbox_slot {
    uint64_t addr, size;
    bool logged;
};

struct hl_sandbox_config {
    const struct hl_driver_ops *driver;
    const char *tracker; /* a name; NULL: the best there is */
    bool adaptive;
    struct hl_sandbox_slot slots[HL_VM_SLOTS]; /* in the host's order */
    size_t slot_count;
    struct hl_x86_region regions[HL_X86_REGIONS]; /* what the guest sees */
    size_t region_count;
    struct hl_sandbox_span tables, thread, stack, heap, input, output;

    const void *file; /* the guest, only needed during hl_sandbox_new */
    size_t file_size;
    const struct hl_elf *elf;
    uint64_t base;
};

enum hl_sandbox_status {
    HL_SANDBOX_IDLE,
    HL_SANDBOX_IN_CALL,
    HL_SANDBOX_POISONED
};

/* Load the guest; it runs when a call begins.  On error nothing is left, and
 * `why` holds a sentence: -EINVAL for a guest or layout that cannot be, what
 * driver or tracker say otherwise. */
int hl_sandbox_new(const struct hl_sandbox_config *config,
                   struct hl_sandbox **out, char *why) HL_MUST_CHECK;
void hl_sandbox_free(struct hl_sandbox *sandbox);

enum hl_sandbox_status hl_sandbox_status(const struct hl_sandbox *sandbox);

/* Host memory of the buffers. */
void *hl_sandbox_input(struct hl_sandbox *sandbox);
const void *hl_sandbox_output(const struct hl_sandbox *sandbox);

/* The guest is about to be run with the first `size` bytes of its input, and
 * the address of byte `message` in RAX. */
int hl_sandbox_begin(struct hl_sandbox *sandbox, size_t size,
                     size_t message) HL_MUST_CHECK;

/* Run until it leaves, or until CLOCK_MONOTONIC is `deadline` (ns; 0: none).
 * Whatever but a call and a passing signal poisons. */
int hl_sandbox_run(struct hl_sandbox *sandbox, uint64_t deadline,
                   struct hl_exit *exit) HL_MUST_CHECK;

/* The guest did all that was asked. */
void hl_sandbox_end(struct hl_sandbox *sandbox);

/* Async-signal-safe. */
void hl_sandbox_interrupt(struct hl_sandbox *sandbox);

/* vCPU state of a snapshot; holds no pointers. */
size_t hl_sandbox_state_size(const struct hl_sandbox *sandbox);

/* Snapshot and `state` (state_size bytes), or neither.  -EBUSY: not IDLE. */
int hl_sandbox_take(struct hl_sandbox *sandbox, struct hl_snapshot **out,
                    void *state) HL_MUST_CHECK;

/* Back to IDLE.  The snapshot is one of a sandbox with the same guest, layout
 * and driver.  -ENOMEM: nothing changed; another error: poisoned. */
int hl_sandbox_restore(struct hl_sandbox *sandbox,
                       struct hl_snapshot *snapshot, const void *state,
                       struct hl_applied *done) HL_MUST_CHECK;

/* For dirty, changed, verify, stats. */
struct hl_manager *hl_sandbox_manager(struct hl_sandbox *sandbox);

/* Sandboxes alive in this process, for leak tests. */
size_t hl_sandbox_count(void);

#endif
