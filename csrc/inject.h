/* Planned failures: the test build can make the next allocation or syscall of
 * a kind fail.  In every other build HL_INJECT is the constant 0 and this
 * header leaves nothing behind. */
#ifndef HL_INJECT_H
#define HL_INJECT_H

#include "base.h"

enum hl_inject_point {
    HL_INJECT_STORE_ALLOC, /* a page slot */
    HL_INJECT_NODE_ALLOC,  /* an index node */
    HL_INJECT_ARM,         /* protecting neighbouring pages */
    HL_INJECT_COLLECT,     /* asking which pages were written */
    HL_INJECT_UNPROTECT,   /* opening one page in the signal handler */
    HL_INJECT_SLICE,       /* not a failure: the emulator's time is up */
    HL_INJECT_THREAD,      /* a thread that watches deadlines */
    HL_INJECT_RUN,         /* entering the guest, before anything ran */
    HL_INJECT_TABLE,       /* memory for the signal handler's table */
    HL_INJECT_QUERY,       /* PROCMAP_QUERY: reads /proc/self/maps instead */
    HL_INJECT_SLAB,        /* a slab of page slots */
    HL_INJECT_HEAT,        /* memory for how hot pages are */
    HL_INJECT_LINGER,      /* not a failure: see HL_LINGER */
    HL_INJECT_SCAN,        /* PAGEMAP_SCAN, when it has armed some pages */
    HL_INJECT_RIPE,        /* not a failure: what was split is made whole */
    HL_INJECT_ROOM,        /* memory for a batch */
    HL_INJECT_POINTS
};

#ifdef HL_FAULT_INJECTION
/* After `skip` further passes, make `count` passes of `point` fail. */
void hl_inject_plan(enum hl_inject_point point, unsigned skip, unsigned count);
/* True if this pass of `point` is to fail.  Async-signal-safe. */
bool hl_inject_now(enum hl_inject_point point);
#define HL_INJECT(point) hl_inject_now(point)
/* Where a race is: a plan for HL_INJECT_LINGER makes it wide.
 * Async-signal-safe. */
#define HL_LINGER() hl_linger()
void hl_linger(void);
#else
#define HL_INJECT(point) 0
#define HL_LINGER() ((void)0)
#endif

#endif
