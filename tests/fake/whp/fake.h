/* A fake of WinHvPlatform.dll for tests: a struct hl_whp_calls behind which
 * there is no hypervisor, but guests run all the same, on the emulator.
 *
 * It checks what it is given, and keeps dirty pages as Windows documents them:
 * a query reports and forgets.  What it does beyond that, it does when a
 * switch says so.  What it cannot show is how Windows itself behaves where
 * nothing is documented.
 *
 * Threads: calls on any thread.  Switches and plans are for all threads, and
 * are changed while no call is under way. */
#ifndef HL_TESTS_FAKE_WHP_H
#define HL_TESTS_FAKE_WHP_H

#include "vm/whp/calls.h"

#define FAKE_PUBLIC __attribute__((dllexport))

/* Kinds of calls. */
enum fake_kind {
    FAKE_CAPABILITY,
    FAKE_CREATE,
    FAKE_PROPERTY,
    FAKE_SETUP,
    FAKE_DELETE,
    FAKE_MAP,
    FAKE_CREATE_CPU,
    FAKE_RUN,
    FAKE_CANCEL,
    FAKE_GET,
    FAKE_SET,
    FAKE_GET_XSAVE,
    FAKE_SET_XSAVE,
    FAKE_QUERY,
    FAKE_KINDS
};
#define FAKE_ANY FAKE_KINDS

enum fake_switch {
    FAKE_NO_HYPERVISOR,   /* the library is there, and nothing else */
    FAKE_REFUSE_FLAG,     /* TrackDirtyPages is an invalid argument */
    FAKE_MISSED_REARM,    /* the first write to a page behind a query that
                             reported it is not noticed */
    FAKE_STRAY_BITS,      /* set behind the end, in the last word */
    FAKE_FIRST_ALL_DIRTY, /* the first answer about a range */
    FAKE_ONE_PARTITION,   /* memory of a second one is refused */
    FAKE_CANCEL_LOST,     /* a cancel before a run is; 0: it ends the run */
    FAKE_NO_AVX,          /* XCR0 may be 3 at most */
    FAKE_EXIT,            /* the next run ends at once, for this reason */
    FAKE_SPURIOUS_EVERY,  /* each n-th run is cancelled by nobody */
    FAKE_SWITCHES
};

enum fake_counter {
    FAKE_CALLS, /* of kind i: FAKE_CALLS + i */
    FAKE_PAGES_ASKED = FAKE_CALLS + FAKE_KINDS,
    FAKE_PAGES_TOLD, /* asked for and told that they are dirty */
    FAKE_FAILED,     /* calls that failed because a plan or switch said so */
    FAKE_VIOLATIONS, /* calls that no caller should make */
    FAKE_PARTITIONS, /* that there are now; so are the next ones */
    FAKE_MAPPINGS,
    FAKE_COUNTERS
};

/* What the core is given: all of it; as of Windows 10 1803, without queries;
 * and as it may be once, with vector state as one of several states. */
extern FAKE_PUBLIC const struct hl_whp_calls fake_whp_calls,
    fake_whp_calls_1803, fake_whp_calls_later;

/* Out of range: nothing happens, or 0. */
FAKE_PUBLIC void fake_whp_switch(int which, long value);
FAKE_PUBLIC long fake_whp_switched(int which);
FAKE_PUBLIC long fake_whp_count(int which);
/* All switches as HYPERLIGHT_FAKE_WHP says ("refuses", "misses", or none), no
 * plan, and all counters 0 but for what there is now. */
FAKE_PUBLIC void fake_whp_reset(void);

/* The n-th call of a kind (or of FAKE_ANY) from now on, 1 being the next,
 * fails with `result`, before it has done anything; or after it has done all,
 * but told nothing: bits that it cleared stay so.  One plan at a time; 0
 * calls: none. */
FAKE_PUBLIC void fake_whp_fail(int kind, long nth, long result, bool after);
/* How many calls a plan still waits for; 0: it was carried out, or is none. */
FAKE_PUBLIC long fake_whp_fail_left(void);

#endif
