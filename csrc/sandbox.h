/* A sandbox: a guest in a machine, its memory, its calls, its snapshots.
 *
 * It joins parts that are independent of each other: the driver, which runs
 * code; the ABI, which is the protocol between guest and host (abi/abi.h); and
 * the manager, which puts memory back.
 *
 * What it is doing is one variable, its turn (turn.h).  A call is
 *
 *     enter(CALL), write the arguments, begin, run until the guest is ready
 *     (what it asks for is answered by begin and run), read the result, end,
 *     leave.
 *
 * A call that is left without its end poisons the sandbox for any reason,
 * unless the guest never ran; so an error makes the sandbox unusable without
 * further action.
 *
 * Memory of the guest is one mapping of the host, slot after slot (machine.h,
 * which also says what becomes of a machine whose sandbox is closed).  Logged
 * slots are contiguous; snapshots hold those.
 *
 *  S1. The scratch memory of the ABI is in logged slots, and zeroed by a take
 *      (hl_manager_scratch).
 *  S2. Memory is put back only while the machine has no unfinished write to it
 *      (V5).
 *
 * Threads: hl_sandbox_enter, ref, unref, interrupt and close at any time; the
 * others by the thread that has the turn.  Fork: in a child everything but
 * close, leave and unref gives -ECHILD. */
#ifndef HL_SANDBOX_H
#define HL_SANDBOX_H

#include "abi/abi.h"
#include "base.h"
#include "choose.h"
#include "machine.h"
#include "manager/manager.h"
#include "turn.h"
#include "vm/driver.h"

struct hl_sandbox;

struct hl_sandbox_config {
    const struct hl_driver_ops *driver;
    const char *tracker; /* a name; NULL: what hl_choose chooses */
    const char *abi;     /* a name; NULL: that of the guest's file */
    bool adaptive;
    struct hl_machine_slot slots[HL_VM_SLOTS]; /* in the host's order */
    size_t slot_count;
    struct hl_x86_region regions[HL_X86_REGIONS]; /* what the guest sees */
    size_t region_count;
    struct hl_span tables;
    struct hl_abi_config guest; /* its file is needed by hl_sandbox_new only */
};

/* Load the guest; it runs when a call begins.  On error nothing is left, and
 * `why` holds a sentence: -EINVAL for an invalid guest or layout, -ENOENT and
 * -EOPNOTSUPP as hl_choose, otherwise the driver's error.  `choice` holds the
 * chosen tracker and the reason.  *out has one reference. */
int hl_sandbox_new(const struct hl_sandbox_config *config,
                   struct hl_sandbox **out, struct hl_choice *choice,
                   char *why) HL_MUST_CHECK;
struct hl_sandbox *hl_sandbox_ref(struct hl_sandbox *sandbox);
/* Dropping the last reference closes it, if it is not closed yet. */
void hl_sandbox_unref(struct hl_sandbox *sandbox);

/* Free everything and give back the turn, which the caller must have, except
 * in a child of fork, where nobody can have it.  There a close in the middle
 * of a call of this very thread takes effect when the call leaves. */
void hl_sandbox_close(struct hl_sandbox *sandbox);
bool hl_sandbox_is_closed(const struct hl_sandbox *sandbox);

/* As hl_turn_enter; the turn itself is for waiting and looking. */
int hl_sandbox_enter(struct hl_sandbox *sandbox, enum hl_state wanted,
                     bool waits) HL_MUST_CHECK;
void hl_sandbox_leave(struct hl_sandbox *sandbox);
struct hl_turn *hl_sandbox_turn(struct hl_sandbox *sandbox);

/* What was said, and what is to be said. */
struct hl_abi *hl_sandbox_abi(struct hl_sandbox *sandbox);

/* CLOCK_MONOTONIC in ns at which this call is over; 0: never. */
void hl_sandbox_set_deadline(struct hl_sandbox *sandbox, uint64_t deadline);

/* The guest is about to be run with what was written for it. */
int hl_sandbox_begin(struct hl_sandbox *sandbox) HL_MUST_CHECK;

/* Run until the guest leaves; other threads run meanwhile (os/others.h).
 * HL_LEFT_INTERRUPTED and HL_LEFT_TIMEOUT end
 * the call; HL_LEFT_KICKED does not: see to signals and run it again.
 * -EAGAIN, -ENOMEM: no thread can watch the deadline, or run the guest.  Where
 * the guest has not run since the call began, that does not poison. */
int hl_sandbox_run(struct hl_sandbox *sandbox, struct hl_exit *exit,
                   enum hl_left *left) HL_MUST_CHECK;

/* The guest did all that was asked. */
void hl_sandbox_end(struct hl_sandbox *sandbox);

/* The trusted start of a guest is over: what its ABI says of rights holds from
 * now on, in a machine made anew on the same memory.  Snapshots that were
 * taken before do not fit any more.  Its tracker stays the same one.  On error
 * nothing changed, unless the new machine could not be made: then it is closed
 * when the turn is given back.  -EOPNOTSUPP: its ABI bakes nothing; -EBUSY:
 * poisoned; -EINVAL: it was baked before. */
int hl_sandbox_bake(struct hl_sandbox *sandbox, char *why) HL_MUST_CHECK;

/* Would leaving now leave it poisoned? */
bool hl_sandbox_is_poisoned(const struct hl_sandbox *sandbox);

/* Ask the call under way, if any, to end.  The caller ensures that the sandbox
 * is not closed meanwhile. */
void hl_sandbox_interrupt(struct hl_sandbox *sandbox);

/* Copy up to `size` bytes of guest memory at `addr`; returns how many are
 * there. */
size_t hl_sandbox_peek(const struct hl_sandbox *sandbox, uint64_t addr,
                       void *to, size_t size);

/* vCPU state of a snapshot; holds no pointers. */
size_t hl_sandbox_state_size(const struct hl_sandbox *sandbox);

/* Snapshot and `state` (state_size bytes), or neither.  -EBUSY: poisoned. */
int hl_sandbox_take(struct hl_sandbox *sandbox, struct hl_snapshot **out,
                    void *state) HL_MUST_CHECK;

/* Make it READY.  The snapshot is one of a sandbox with the same guest, layout
 * and driver.  -ENOMEM: nothing changed; another error: poisoned. */
int hl_sandbox_restore(struct hl_sandbox *sandbox,
                       struct hl_snapshot *snapshot, const void *state,
                       struct hl_applied *done) HL_MUST_CHECK;

/* For dirty, changed, verify, stats. */
struct hl_manager *hl_sandbox_manager(struct hl_sandbox *sandbox);

/* Sandboxes alive in this process, for leak tests. */
size_t hl_sandbox_count(void);

#endif
