/* Deadlines: one thread of the library that ends calls that take too long.
 *
 * Workload: thousands of calls a second, each with a deadline of seconds that
 * hardly any reaches.  Starting and stopping a watch is a lock and a few
 * stores; the thread sleeps until the earliest deadline that it has heard of,
 * and is told only of an earlier one.
 *
 * The thread blocks every signal and runs no Python.  It is started by the
 * first watch, and ends before a fork if nothing is watched, so that a
 * process without pending deadlines forks without extra threads.  A child has
 * no such thread until it watches something itself.
 *
 * Threads: each watch is started and stopped by one thread at a time. */
#ifndef HL_VM_WATCH_H
#define HL_VM_WATCH_H

#include "base.h"

struct hl_watch {
    uint64_t deadline; /* CLOCK_MONOTONIC, ns */
    /* Called on the library's thread from the deadline on, every millisecond
     * until the watch is stopped; must be short, and take no lock. */
    void (*wake)(void *context);
    void *context;
    struct hl_watch *next, **link; /* watch.c's */
};

/* Fill in the first three before.  -EAGAIN or -ENOMEM: no thread could be
 * made, and nothing is watched. */
int hl_watch_start(struct hl_watch *watch) HL_MUST_CHECK;
/* When this returns, wake is not running and will not. */
void hl_watch_stop(struct hl_watch *watch);

#endif
