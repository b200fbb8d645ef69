/* Planned failures: the test build can make the next allocation or syscall of
 * a kind fail.  In every other build HL_FAIL is the constant 0 and this header
 * leaves nothing behind. */
#ifndef HL_FAIL_H
#define HL_FAIL_H

#include "base.h"

enum hl_fail_point {
    HL_FAIL_STORE_ALLOC, /* a page slot */
    HL_FAIL_NODE_ALLOC,  /* an index node */
    HL_FAIL_ARM,         /* protecting a run of pages */
    HL_FAIL_COLLECT,     /* asking which pages were written */
    HL_FAIL_UNPROTECT,   /* opening one page in the fault handler */
    HL_FAIL_SLICE,       /* not a failure: the emulator's time is up */
    HL_FAIL_THREAD,      /* a thread that watches deadlines */
    HL_FAIL_RUN,         /* entering the guest, before anything ran */
    HL_FAIL_TABLE,       /* memory for the fault handler's table */
    HL_FAIL_QUERY,       /* PROCMAP_QUERY: reads /proc/self/maps instead */
    HL_FAIL_SLAB,        /* a slab of page slots */
    HL_FAIL_LINGER,      /* not a failure: see HL_LINGER */
    HL_FAIL_POINTS
};

#ifdef HL_FAULT_INJECTION
/* After `skip` further passes, make `count` passes of `point` fail. */
void hl_fail_plan(enum hl_fail_point point, unsigned skip, unsigned count);
/* True if this pass of `point` is to fail.  Async-signal-safe. */
bool hl_fail_now(enum hl_fail_point point);
#define HL_FAIL(point) hl_fail_now(point)
/* Where a race is: a plan for HL_FAIL_LINGER makes it wide.
 * Async-signal-safe. */
#define HL_LINGER() hl_linger()
void hl_linger(void);
#else
#define HL_FAIL(point) 0
#define HL_LINGER() ((void)0)
#endif

#endif
