#include "os/lock.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "os/forked.h"
#include "os/others.h"

/* Before all ranks; held over a whole fork (L3). */
static hl_mutex registry = HL_MUTEX_INIT;
static struct hl_lock *locks[HL_RANK_COUNT];

static atomic_uint generation;

static void (*first_of_all[4])(void);
static size_t first_count;

unsigned hl_fork_generation(void) { return atomic_load(&generation); }

#ifdef HL_FAULT_INJECTION
/* Ranks that this thread holds. */
static __thread unsigned held HL_THERE_AT_ONCE;

static void note_taken(enum hl_rank rank)
{
    if (held >> rank != 0)
        abort(); /* L1 */
    held |= 1U << rank;
}

static void note_let_go(enum hl_rank rank) { held &= ~(1U << rank); }

static void check_none_held(void)
{
    if (held != 0)
        abort(); /* L3; or a thread that forks with a lock held */
}
#else
static void note_taken(enum hl_rank rank) { (void)rank; }
static void note_let_go(enum hl_rank rank) { (void)rank; }
static void check_none_held(void) {}
#endif

/* O3. */
static void wait_for(hl_mutex *mutex)
{
    if (hl_mutex_try(mutex))
        return;
    hl_let_others_run();
    hl_mutex_lock(mutex);
}

void hl_lock_init(struct hl_lock *lock, enum hl_rank rank)
{
    check_none_held();
    *lock = (struct hl_lock){.rank = rank};
    hl_mutex_init(&lock->mutex);
    wait_for(&registry);
    lock->next = locks[rank];
    lock->link = &locks[rank];
    if (lock->next)
        lock->next->link = &lock->next;
    locks[rank] = lock;
    hl_mutex_unlock(&registry);
}

void hl_lock_destroy(struct hl_lock *lock)
{
    check_none_held();
    wait_for(&registry);
    *lock->link = lock->next;
    if (lock->next)
        lock->next->link = lock->link;
    hl_mutex_unlock(&registry);
    hl_mutex_destroy(&lock->mutex);
}

/* Noted before it is taken: a broken rule is found without the deadlock. */
void hl_lock_acquire(struct hl_lock *lock)
{
    note_taken(lock->rank);
    wait_for(&lock->mutex);
}

bool hl_lock_try(struct hl_lock *lock)
{
    if (!hl_mutex_try(&lock->mutex))
        return false;
    note_taken(lock->rank);
    return true;
}

/* Once released, the lock may be freed: the next thread that takes it may be
 * the last to need it. */
void hl_lock_release(struct hl_lock *lock)
{
    enum hl_rank rank = lock->rank;

    hl_mutex_unlock(&lock->mutex);
    note_let_go(rank);
}

void hl_lock_before_fork(void (*function)(void))
{
    if (first_count == HL_ARRAY_SIZE(first_of_all))
        abort();
    first_of_all[first_count++] = function;
}

static void before_fork(void)
{
    check_none_held();
    for (size_t i = 0; i < first_count; i++)
        first_of_all[i]();
    hl_mutex_lock(&registry);
    for (size_t rank = 0; rank < HL_RANK_COUNT; rank++)
        for (struct hl_lock *l = locks[rank]; l != NULL; l = l->next)
            hl_mutex_lock(&l->mutex);
}

static void let_all_go(void)
{
    for (size_t rank = HL_RANK_COUNT; rank-- > 0;)
        for (struct hl_lock *l = locks[rank]; l != NULL; l = l->next)
            hl_mutex_unlock(&l->mutex);
}

static void in_parent(void)
{
    let_all_go();
    hl_mutex_unlock(&registry);
}

static _Atomic uintptr_t last_number, survivor;

uintptr_t hl_thread_number(void)
{
    static _Thread_local uintptr_t mine;

    if (mine == 0)
        mine = atomic_fetch_add(&last_number, 1) + 1;
    return mine;
}

bool hl_thread_forked(uintptr_t number)
{
    return number != 0 && number == atomic_load(&survivor);
}

/* The registry stays locked while the callbacks run, since no other thread
 * exists; it is released last because they are called while walking it. */
static void in_child(void)
{
    atomic_fetch_add(&generation, 1);
    atomic_store(&survivor, hl_thread_number());
    let_all_go();
    for (size_t rank = HL_RANK_COUNT; rank-- > 0;)
        for (struct hl_lock *l = locks[rank]; l != NULL; l = l->next)
            if (l->in_child)
                l->in_child(l);
    hl_mutex_unlock(&registry);
}

__attribute__((constructor)) static void watch_forks(void)
{
    hl_at_fork(before_fork, in_parent, in_child);
}
