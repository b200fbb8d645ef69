#include "mem/forked.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_uint generation;

static void in_child(void) { atomic_fetch_add(&generation, 1); }

/* Runs when the module is loaded, before anything can be tracked.  If there is
 * no memory for the hook there is none for the module either. */
__attribute__((constructor)) static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, in_child);
}

unsigned hl_fork_generation(void) { return atomic_load(&generation); }
