/* Guests that do not end by themselves are ended. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "os/wait.h"
#include "vm/watch.h"
#include "vm_bed.h"

GUEST(spin, "1: jmp 1b");

static atomic_bool asked;

static void ask(void *context)
{
    struct bed *bed = context;
    atomic_store(&asked, true);
    ops->kick(bed->vm);
}

static void *ask_soon(void *argument)
{
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    ask(argument);
    return NULL;
}

/* Run until somebody asks for an end, as a sandbox does. */
static void spin_until_asked(struct bed *bed)
{
    struct hl_exit left;

    do {
        CHECK(ops->run(bed->vm, &left) == 0);
        CHECK(left.reason == HL_EXIT_KICKED);
    } while (!atomic_exchange(&asked, false));
}

static int handled;
static void count_signal(int signal)
{
    (void)signal;
    handled++;
}

/* What the thread that runs a guest may have done with its signals. */
static void set_signals(int kind)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(kind & 1 ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
    signal(SIGURG, kind & 2 ? SIG_IGN : kind & 4 ? count_signal : SIG_DFL);
}

static void spinning_is_ended(void)
{
    struct bed bed = boot(spin, spin_end);
    pthread_t thread;
    sigset_t pending;

    for (int i = 0; i < 24; i++) {
        set_signals(i);
        CHECK(pthread_create(&thread, NULL, ask_soon, &bed) == 0);
        spin_until_asked(&bed);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(sigpending(&pending) == 0);
        CHECK(sigismember(&pending, SIGURG) == 0);
    }
    set_signals(0);
    CHECK(handled == 0);
    end(&bed);
}

/* A signal that the thread blocks and that is pending does not end runs. */
static void blocked_signals_do_not_end_runs(void)
{
    struct bed bed = boot(count, count_end);
    struct hl_exit left;
    sigset_t usr1;

    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(pthread_sigmask(SIG_BLOCK, &usr1, NULL) == 0);
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0);
    for (uint64_t i = 1; i < 20; i++) {
        CHECK(ops->run(bed.vm, &left) == 0);
        CHECK(left.reason == HL_EXIT_CALL && left.value == i);
    }
    int got;
    CHECK(sigwait(&usr1, &got) == 0 && got == SIGUSR1);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &usr1, NULL) == 0);
    end(&bed);
}

static void deadlines_pass(void)
{
    struct bed bed = boot(spin, spin_end);

    for (unsigned i = 0; i < 20; i++) {
        struct hl_watch watch = {hl_now() + i * 500000, ask, &bed, NULL, NULL};
        CHECK(hl_watch_start(&watch) == 0);
        spin_until_asked(&bed);
        CHECK(hl_now() >= watch.deadline);
        hl_watch_stop(&watch);
        atomic_store(&asked, false); /* it may have asked again */
    }
    end(&bed);
}

static void run_all(void)
{
    RUN(spinning_is_ended);
    RUN(blocked_signals_do_not_end_runs);
    RUN(deadlines_pass);
}

int main(void) { return on_every_driver(run_all); }
