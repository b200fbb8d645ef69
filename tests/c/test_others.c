/* When a call lets other threads run: once, and for what is long, blocks or is
 * locked by another thread. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"
#include "os/lock.h"
#include "os/others.h"

static int let;

static void let_run(void) { let++; }

static void short_steps_add_up(void)
{
    hl_others_wait(let_run);
    for (int i = 0; i < 20; i++)
        hl_spend(HL_PATIENCE_NS / 20);
    CHECK(let == 0);
    hl_spend(1);
    CHECK(let == 1);
    hl_spend(UINT64_MAX);
    hl_let_others_run();
    CHECK(let == 1); /* once */
    CHECK(hl_others_ran());
    let = 0;
}

static void each_call_has_its_own_patience(void)
{
    for (int i = 0; i < 3; i++) {
        hl_others_wait(let_run);
        hl_spend(HL_PATIENCE_NS);
        CHECK(!hl_others_ran());
    }
    CHECK(let == 0);
}

static void nobody_waits(void)
{
    size_t before = hl_others_times();

    hl_spend(UINT64_MAX);
    hl_let_others_run();
    CHECK(let == 0 && hl_others_times() == before);
}

static struct hl_lock lock;
static atomic_bool held;

static void *holds(void *unused)
{
    (void)unused;
    hl_lock_acquire(&lock);
    atomic_store(&held, true);
    for (int i = 0; atomic_load(&held) && i < 10000; i++)
        usleep(1000);
    hl_lock_release(&lock);
    return NULL;
}

/* Whoever has the lock may need what is let go here. */
static void let_holder_go(void)
{
    let++;
    atomic_store(&held, false);
}

static void a_lock_is_not_waited_for(void)
{
    pthread_t thread;

    hl_lock_init(&lock, HL_RANK_MANAGER);
    hl_others_wait(let_run);
    hl_lock_acquire(&lock);
    hl_lock_release(&lock);
    CHECK(!hl_others_ran()); /* it was free */
    CHECK(pthread_create(&thread, NULL, holds, NULL) == 0);
    while (!atomic_load(&held))
        usleep(1000);
    hl_others_wait(let_holder_go);
    hl_lock_acquire(&lock);
    CHECK(let == 1);
    hl_lock_release(&lock);
    CHECK(hl_others_ran());
    CHECK(pthread_join(thread, NULL) == 0);
    hl_lock_destroy(&lock);
    let = 0;
}

int main(void)
{
    RUN(short_steps_add_up);
    RUN(each_call_has_its_own_patience);
    RUN(nobody_waits);
    RUN(a_lock_is_not_waited_for);
    return 0;
}
