/* Write faults: the one SIGSEGV/SIGBUS handler of this process, and the table
 * of regions it serves.
 *
 * The handler is installed when the first region of its signal is added and
 * stays.  It looks the faulting address up in an immutable table, asks the
 * region to open the page, and returns; a fault that is not a write to one of
 * our regions goes to the previous handler, as the kernel would have
 * delivered it: handler of one or three arguments, its mask, SA_NODEFER
 * and SA_RESETHAND, SIG_IGN, or the default action with its core dump.
 *
 * Async-signal-safe: the handler takes no lock and calls nothing but system
 * calls.  Whoever changes the table or a region's state waits, with
 * hl_fault_quiesce, until the handlers that may have seen the old state have
 * returned (two-phase counters, as in SRCU). */
#ifndef HL_TRACK_FAULT_H
#define HL_TRACK_FAULT_H

#include "base.h"

struct hl_fault_region {
    uintptr_t start, end; /* it shares no byte with another region */
    int signal;           /* SIGSEGV or SIGBUS */

    /* Make the page at this address writable and note it; false if that is
     * impossible, and the fault is somebody else's after all.  Runs in the
     * handler, on any thread, several at a time. */
    bool (*open_page)(struct hl_fault_region *region, uintptr_t addr);
};

/* Publish a region, which must outlive hl_fault_remove.  Nothing of it may be
 * protected before this returns.  -ENOMEM, or what sigaction says.
 *
 * Memory for its removal is allocated here, so that removing cannot fail; and
 * there is always a table: without one, a write to another region would crash.
 */
int hl_fault_add(struct hl_fault_region *region) HL_MUST_CHECK;

/* Forget it; when this returns no handler uses it.  Everything of it must be
 * writable again before: a fault still on its way finds the page open. */
void hl_fault_remove(struct hl_fault_region *region);

/* Wait until every handler that runs now has returned. */
void hl_fault_quiesce(void);

/* If another handler is in front of ours, go in front of it and pass on to it
 * all faults that are not ours.  If ours is not installed, does nothing, at
 * the cost of a load.  The kernel does not report that a handler was replaced,
 * so every call that may leave pages armed checks: each collect and each arm.
 */
void hl_fault_reclaim(void);
void hl_fault_reclaim_signal(int signal);

struct hl_fault_status {
    int signal;
    bool installed; /* this process has used our handler */
    bool first;     /* and it is the one the kernel calls now */
};

/* Of all signals that this system has for it: returns how many. */
#define HL_FAULT_SIGNALS 2
size_t hl_fault_status(struct hl_fault_status status[HL_FAULT_SIGNALS]);

#endif
