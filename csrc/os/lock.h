/* Locks, and what a fork does with them.
 *
 * Every lock of the library is one of these, and all are in a single registry
 * of the process.  A fork takes all of them, so that the child finds nothing
 * half done and no lock held by a thread that it does not have, and releases
 * them in parent and child.  It cannot deadlock, because:
 *
 *  L1. Locks have ranks.  A thread that holds one only takes one of a higher
 *      rank, and so never two of the same.  A fork takes them by rank too.
 *  L2. A thread that holds one needs nothing else to release it: not the GIL,
 *      no Python code, no other process.  (It may have the GIL, and give it
 *      away: os/others.h.)  A fork holds the GIL, and waits at
 *      most for memory to be copied.
 *  L3. No thread makes or ends a lock while it holds one.  The registry's own
 *      mutex comes before all ranks, and a fork holds it from the first lock
 *      that it takes to the last that it releases: so it takes exactly the
 *      registered locks, and a second thread that forks waits for the first.
 *  L4. None is taken in a signal handler.
 *
 * Builds with fault injection check L1 and L3 and abort where they are broken.
 *
 * This works by pthread_atfork, so fork() in C is covered like os.fork.  A
 * child made without it (by _Fork, vfork, a raw clone) may only exec.  On
 * Windows there is no fork, and locks are only locks. */
#ifndef HL_OS_LOCK_H
#define HL_OS_LOCK_H

#include "base.h"
#include "os/native.h"

/* In the order in which they are taken. */
enum hl_rank {
    HL_RANK_WATCH,    /* deadlines */
    HL_RANK_MACHINES, /* blank ones */
    HL_RANK_MANAGER,
    HL_RANK_TRACKER, /* state that the trackers of one kind share */
    HL_RANK_RANGE,
    HL_RANK_FAULT,
    HL_RANK_FAULT_WAITING,
    HL_RANK_DESCRIPTOR,
    HL_RANK_STORE,
    HL_RANK_SLAB,    /* spare ones */
    HL_RANK_JOINED,  /* memory that waits to be given back */
    HL_RANK_LIBRARY, /* loading the emulator's */
    HL_RANK_COUNT
};

struct hl_lock {
    hl_mutex mutex;
    enum hl_rank rank;
    /* NULL, or called in every child, with no lock held, to set right what
     * the threads left behind that the child does not have.  May take locks,
     * not make or end any.  Set it right after hl_lock_init. */
    void (*in_child)(struct hl_lock *lock);
    struct hl_lock *next, **link; /* of the registry */
};

/* Zero cost but for the registry's mutex.  A lock that lives as long as the
 * process is made by a constructor and never ended. */
void hl_lock_init(struct hl_lock *lock, enum hl_rank rank);
void hl_lock_destroy(struct hl_lock *lock);

/* Where somebody has it, other threads are let run first (os/others.h). */
void hl_lock_acquire(struct hl_lock *lock);
/* False: somebody has it. */
bool hl_lock_try(struct hl_lock *lock) HL_MUST_CHECK;
void hl_lock_release(struct hl_lock *lock);

/* Call this in the parent before each fork, with no lock held: to end what a
 * fork should not find.  For constructors; there is room for a few. */
void hl_lock_before_fork(void (*function)(void));

#endif
