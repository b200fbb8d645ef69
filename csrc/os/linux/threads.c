#include "os/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* A thread of ours exists for longer than it is counted, so that errors are on
 * the side of too many.  There are two counts: if one thread began while
 * another ended, their difference would be unchanged, and the answer would be
 * true of no moment. */
static _Atomic size_t began, ended;

void hl_thread_begins(void) { atomic_fetch_add(&began, 1); }
void hl_thread_ends(void) { atomic_fetch_add(&ended, 1); }
void hl_threads_are_lost(void) { atomic_store(&ended, atomic_load(&began)); }

/* /proc/self/task has a link for itself, one for its parent, and one for each
 * thread. */
bool hl_is_single_threaded(void)
{
    struct stat st;
    size_t came = atomic_load(&began), went = atomic_load(&ended);

    return stat("/proc/self/task", &st) == 0 &&
           st.st_nlink == 3 + (came - went) && atomic_load(&began) == came &&
           atomic_load(&ended) == went;
}

int hl_thread_start(hl_thread *thread, void *(*main)(void *), void *context)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    int err = pthread_attr_init(&attributes);
    if (err)
        return -err;
    (void)pthread_attr_setstacksize(&attributes, (size_t)64 << 10);
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(thread, &attributes, main, context);
    if (err == EINVAL) /* thread-local data may take more of it than that */
        err = pthread_create(thread, NULL, main, context);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return -err;
}

void hl_thread_join(hl_thread thread) { (void)pthread_join(thread, NULL); }

void hl_yield(void) { sched_yield(); }

/* If there is no memory for the hooks there is none for the module either. */
void hl_at_fork(void (*before)(void), void (*in_parent)(void),
                void (*in_child)(void))
{
    (void)pthread_atfork(before, in_parent, in_child);
}
