/* Locks and forks: whatever other threads hold, make or end, both sides of a
 * fork find every lock free; rules that are broken are noticed. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "os/forked.h"
#include "os/lock.h"

#define THREADS 3
#define FORKS 60

static struct hl_lock low, middle, high;
static atomic_bool stop;
static unsigned seen_by_child;

/* Status of a child that does this. */
static int child_that(void (*does)(void))
{
    int status = 0;

    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        does();
        _exit(0);
    }
    /* A lock that is held for ever is a failure, not a hang. */
    for (int i = 0; i < 20000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            return status;
        usleep(1000);
    }
    kill(pid, SIGKILL);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status;
}

static void takes_all(void)
{
    struct hl_lock fresh;

    hl_lock_acquire(&low);
    hl_lock_acquire(&middle);
    hl_lock_acquire(&high);
    hl_lock_release(&high);
    hl_lock_release(&middle);
    hl_lock_release(&low);
    hl_lock_init(&fresh, HL_RANK_MANAGER);
    hl_lock_acquire(&fresh);
    hl_lock_release(&fresh);
    hl_lock_destroy(&fresh);
}

static void *holds(void *nothing)
{
    while (!atomic_load(&stop))
        takes_all();
    return nothing;
}

static void *makes_and_ends(void *nothing)
{
    while (!atomic_load(&stop)) {
        struct hl_lock mine[3];
        for (int i = 0; i < 3; i++)
            hl_lock_init(&mine[i], HL_RANK_MANAGER);
        for (int i = 0; i < 3; i++) {
            hl_lock_acquire(&mine[i]);
            sched_yield();
            hl_lock_release(&mine[i]);
        }
        for (int i = 0; i < 3; i++)
            hl_lock_destroy(&mine[i]);
    }
    return nothing;
}

static void *forks(void *nothing)
{
    for (int i = 0; i < FORKS; i++)
        CHECK(child_that(takes_all) == 0);
    return nothing;
}

/* Three threads fork, three use locks, one makes and ends some. */
static void many_fork_at_once(void)
{
    pthread_t forking[THREADS], using[THREADS], making;

    atomic_store(&stop, false);
    CHECK(pthread_create(&making, NULL, makes_and_ends, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&using[i], NULL, holds, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&forking[i], NULL, forks, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(forking[i], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(using[i], NULL);
    pthread_join(making, NULL);
    takes_all();
}

static void note_child(struct hl_lock *lock)
{
    CHECK(lock == &middle);
    hl_lock_acquire(&low); /* none is held */
    hl_lock_acquire(lock);
    hl_lock_release(lock);
    hl_lock_release(&low);
    seen_by_child = hl_fork_generation();
}

static void sees_its_generation(void)
{
    CHECK(seen_by_child == hl_fork_generation());
    CHECK(seen_by_child == 1);
}

static void children_are_told(void)
{
    middle.in_child = note_child;
    CHECK(hl_fork_generation() == 0);
    CHECK(child_that(sees_its_generation) == 0);
    CHECK(seen_by_child == 0 && hl_fork_generation() == 0);
    middle.in_child = NULL;
}

static void takes_lower_second(void)
{
    hl_lock_acquire(&middle);
    hl_lock_acquire(&low);
}

static void takes_two_of_a_rank(void)
{
    struct hl_lock other;
    hl_lock_init(&other, HL_RANK_STORE);
    hl_lock_acquire(&high);
    hl_lock_acquire(&other);
}

static void makes_with_one_held(void)
{
    struct hl_lock other;
    hl_lock_acquire(&low);
    hl_lock_init(&other, HL_RANK_STORE);
}

static void ends_with_one_held(void)
{
    hl_lock_acquire(&low);
    hl_lock_destroy(&high);
}

static void forks_with_one_held(void)
{
    hl_lock_acquire(&low);
    (void)fork();
}

/* A deadlock to be is found where the rule is broken, not when it strikes. */
static void broken_rules_are_noticed(void)
{
    void (*const broken[])(void) = {takes_lower_second, takes_two_of_a_rank,
                                    makes_with_one_held, ends_with_one_held,
                                    forks_with_one_held};

    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        int status = child_that(broken[i]);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    }
}

int main(void)
{
    hl_lock_init(&low, HL_RANK_MANAGER);
    hl_lock_init(&middle, HL_RANK_RANGE);
    hl_lock_init(&high, HL_RANK_STORE);
    RUN(children_are_told);
    RUN(broken_rules_are_noticed);
    RUN(many_fork_at_once);
    hl_lock_destroy(&high);
    hl_lock_destroy(&middle);
    hl_lock_destroy(&low);
    return 0;
}
