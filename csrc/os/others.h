/* Letting other threads run: when a call that begins with something that they
 * wait for (Python's GIL) gives it away.  One rule, for all of csrc:
 *
 *  O1. It is kept through what is short, and given away before what may block
 *      or takes long: giving it away beside a thread that computes costs the
 *      other's time slice, 5 ms, to get it back.
 *  O2. Short is what costs HL_PATIENCE_NS in all.  Each step that costs more
 *      the more there is says so before it begins (hl_spend), by what it knows
 *      by then: pages that were found dirty, not the size of the region.  The
 *      estimates below are of a machine of today; on one that is twice as
 *      slow the GIL is kept twice as long.
 *  O3. Nobody waits for a lock with it: hl_lock_acquire gives it away first
 *      where the lock is not free.  So a thread that holds a lock may wait for
 *      it no more than before (L2 of lock.h), and no two can wait for each
 *      other.
 *  O4. It is given away once a call at the most, and taken back by the caller
 *      when the call is over and holds no lock (L2).  Giving it away waits for
 *      nothing but for another thread to take it, which needs no lock; so it
 *      may happen in the middle of a call, with locks held.
 *
 * To read or write memory is to compute, even where it is a page fault; a
 * file's pages, which another thread of this process may have to provide, are
 * an exception that region.c makes.
 *
 * Threads: all of it is about the thread that calls.  Where nobody said
 * hl_others_wait, as in a thread of the library's own and in a fork's
 * handlers, the rest does nothing.  Not in signal handlers. */
#ifndef HL_OS_OTHERS_H
#define HL_OS_OTHERS_H

#include "base.h"

#define HL_PATIENCE_NS UINT64_C(20000)

/* What steps cost, in ns: rather too little for what caches hold. */
enum hl_cost {
    HL_COST_LOOK = 80,     /* a page: to compare it, or to copy it back */
    HL_COST_ARM = 40,      /* a page: to arm it, in a stretch */
    HL_COST_STORE = 500,   /* a page: to copy it into the store */
    HL_COST_ENTRY = 10,    /* a page: to read its entry in a pagemap */
    HL_COST_CALL = 1000,   /* a system call that walks over few pages */
    HL_COST_MAPPING = 2000 /* a mapping: to split it, and to join it */
};

/* A call begins that other threads wait for; let_run is called in it once or
 * never.  Calls do not nest. */
void hl_others_wait(void (*let_run)(void));
/* It is over.  True: let_run was called. */
bool hl_others_ran(void) HL_MUST_CHECK;

/* The next step takes about so long. */
void hl_spend(uint64_t ns);
/* The next step may block, or nobody knows how long it takes. */
void hl_let_others_run(void);

/* How often this thread called a let_run, for tests. */
size_t hl_others_times(void);

#endif
