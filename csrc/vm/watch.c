#include "vm/watch.h"

#include <stdatomic.h>

#include "inject.h"
#include "os/lock.h"
#include "os/threads.h"
#include "os/wait.h"

#define AGAIN_NS UINT64_C(1000000)
#define NEVER ((uint64_t)INT64_MAX)

/* Guards the list and `next_look`. */
static struct hl_lock lock;
static struct hl_watch *watches;
static uint64_t next_look; /* when the thread wakes by itself */

/* The thread, and its number, or 0 where there is none: it goes on as long as
 * the number is its own.  `bell` changes when it is to look at once. */
static hl_thread thread;
static _Atomic uint32_t thread_number;
static uint32_t last_number;
static _Atomic uint32_t bell;

static void ring(void)
{
    atomic_fetch_add(&bell, 1);
    hl_wake(&bell);
}

/* Wake what is late; when to look again. */
static uint64_t look(uint64_t now)
{
    uint64_t next = NEVER;

    for (struct hl_watch *w = watches; w != NULL; w = w->next) {
        uint64_t due = w->deadline;
        if (due <= now) {
            w->wake(w->context);
            due = now + AGAIN_NS;
        }
        if (due < next)
            next = due;
    }
    return next;
}

static void *watch_all(void *number)
{
    hl_thread_begins();
    for (;;) {
        uint32_t heard = atomic_load(&bell);
        hl_lock_acquire(&lock);
        bool goes_on = atomic_load(&thread_number) == (uintptr_t)number;
        uint64_t until = goes_on ? look(hl_now()) : 0;
        if (goes_on)
            next_look = until;
        hl_lock_release(&lock);
        if (!goes_on)
            break;
        hl_wait(&bell, heard, until);
    }
    hl_thread_ends();
    return NULL;
}

/* With the lock held. */
static int make_thread(void)
{
    if (atomic_load(&thread_number))
        return 0;
    if (++last_number == 0)
        last_number = 1;
    next_look = 0; /* it begins with a look */
    int err = HL_INJECT(HL_INJECT_THREAD)
                  ? -EAGAIN
                  : hl_thread_start(&thread, watch_all,
                                    (void *)(uintptr_t)last_number);
    atomic_store(&thread_number, err < 0 ? 0 : last_number);
    return err;
}

int hl_watch_start(struct hl_watch *watch)
{
    hl_lock_acquire(&lock);
    int err = make_thread();
    if (err == 0) {
        watch->next = watches;
        watch->link = &watches;
        if (watches)
            watches->link = &watch->next;
        watches = watch;
        if (watch->deadline < next_look) {
            next_look = watch->deadline;
            ring();
        }
    }
    hl_lock_release(&lock);
    return err;
}

void hl_watch_stop(struct hl_watch *watch)
{
    hl_lock_acquire(&lock);
    *watch->link = watch->next;
    if (watch->next)
        watch->next->link = watch->link;
    hl_lock_release(&lock);
}

/* An idle thread ends, and this waits for that without the lock: a watch that
 * begins meanwhile makes a thread with another number. */
static void before_fork(void)
{
    hl_thread ending;

    hl_lock_acquire(&lock);
    bool idle = atomic_load(&thread_number) && watches == NULL;
    if (idle) {
        ending = thread;
        atomic_store(&thread_number, 0);
        ring();
    }
    hl_lock_release(&lock);
    if (idle)
        hl_thread_join(ending);
}

/* The thread is the parent's, and so is what it watched: calls of threads that
 * a child does not have, or of this one, which cannot go on in a child. */
static void in_child(struct hl_lock *unused)
{
    (void)unused;
    atomic_store(&thread_number, 0);
    watches = NULL;
    hl_threads_are_lost();
}

__attribute__((constructor)) static void follow_forks(void)
{
    hl_lock_init(&lock, HL_RANK_WATCH);
    lock.in_child = in_child;
    hl_lock_before_fork(before_fork);
}
