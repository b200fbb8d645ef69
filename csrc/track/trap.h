/* Traps: the common part of the trackers that use a signal handler.
 *
 * A trap keeps the set of the pages that are open (writable, reported).  The
 * first write to any other page faults; the handler notes the page, opens it,
 * and notes it again.
 *
 * Why twice: between the first note and the opening, arm() on another thread
 * may clear the note and close the page; opened after that, the page would be
 * writable and unreported.  The second note repairs it, and arm() waits for
 * handlers that were running (hl_fault_quiesce), so that no later collect can
 * come before that repair.  Noting only afterwards would let a second thread
 * write to the open page, finish, and be missed by a collect in between.
 *
 * A fault is resolved only if the page can be written now.  A successful call
 * to open it does not ensure that for a page beyond the end of its file, or in
 * a mapping that its owner replaced: the instruction would fault again,
 * forever.  So a page that was noted already and faults again is tested, and
 * if it still cannot be written, the fault goes to the next handler, unless
 * arm() may have closed the page meanwhile. */
#ifndef HL_TRACK_TRAP_H
#define HL_TRACK_TRAP_H

#include "track/fault.h"
#include "track/track.h"

struct hl_trap {
    struct hl_tracker tracker;
    struct hl_fault_region region;
    struct hl_pages open; /* atomic: what is reported, all that is writable */
    unsigned arming;      /* atomic: counts begins and ends of arm() */

    /* Close (true) or open a run.  Async-signal-safe.  -errno: some of it may
     * have changed. */
    int (*protect)(struct hl_trap *trap, struct hl_run run, bool closed);

    /* How many closed pages protect() may cross to close two runs at once. */
    size_t bridge;
};

/* Fill in a zeroed trap whose protect and bridge are set, and publish it.  On
 * error nothing is left behind. */
int hl_trap_open(struct hl_trap *trap, const struct hl_tracker_ops *ops,
                 void *addr, size_t page_count, int signal,
                 char *why) HL_MUST_CHECK;
/* Unpublish and free what open allocated.  Everything must be open. */
void hl_trap_close(struct hl_trap *trap);

int hl_trap_collect(struct hl_tracker *tracker, struct hl_pages *dirty);
void hl_trap_arm(struct hl_tracker *tracker, const struct hl_pages *pages);
void hl_trap_leave_unarmed(struct hl_tracker *tracker,
                           const struct hl_pages *pages);
/* The same for every page. */
void hl_trap_leave_all_unarmed(struct hl_trap *trap);
void hl_trap_disarm(struct hl_tracker *tracker, struct hl_run run);

#endif
