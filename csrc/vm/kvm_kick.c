/* How a run is ended from outside: by a signal to the thread inside KVM_RUN.
 *
 * Any handler will do, since it is enough that KVM_RUN returns.  The handler
 * here does nothing, and is async-signal-safe. */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem/forked.h"
#include "vm/kvm.h"

#define KICK (SIGRTMAX - 3)
#define AGAIN_NS 1000000 /* a signal may come just before KVM_RUN */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static void do_nothing(int signal) { (void)signal; }

int hl_kvm_kick_install(void)
{
    struct sigaction old, action = {.sa_handler = do_nothing,
                                    .sa_flags = SA_ONSTACK | SA_RESTART};
    if (sigaction(KICK, NULL, &old) < 0)
        return -errno;
    if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)
        return 0; /* somebody's, and as good as ours */
    sigemptyset(&action.sa_mask);
    return sigaction(KICK, &action, NULL) < 0 ? -errno : 0;
}

pid_t hl_kvm_kick_target(void)
{
    static _Thread_local pid_t self;
    static _Thread_local unsigned generation;
    sigset_t set;

    if (self && generation == hl_fork_generation())
        return self;
    sigemptyset(&set);
    sigaddset(&set, KICK);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    generation = hl_fork_generation();
    self = (pid_t)syscall(SYS_gettid);
    return self;
}

void hl_kvm_kick(pid_t thread)
{
    (void)syscall(SYS_tgkill, getpid(), thread, KICK);
}

static int set_timer(struct hl_kvm *k, uint64_t first, long interval)
{
    struct itimerspec spec = {
        .it_value = {(time_t)(first / 1000000000), (long)(first % 1000000000)},
        .it_interval = {0, interval},
    };
    return timer_settime(k->timer, TIMER_ABSTIME, &spec, NULL) < 0 ? -errno
                                                                   : 0;
}

int hl_kvm_timer_start(struct hl_kvm *k, uint64_t deadline)
{
    pid_t self = hl_kvm_kick_target();

    if (k->timer_thread != self) {
        struct sigevent event = {
            .sigev_notify = SIGEV_THREAD_ID,
            .sigev_signo = KICK,
            .sigev_notify_thread_id = self,
        };
        hl_kvm_timer_free(k);
        if (timer_create(CLOCK_MONOTONIC, &event, &k->timer) < 0)
            return -errno;
        k->timer_thread = self;
    }
    return set_timer(k, deadline, AGAIN_NS);
}

void hl_kvm_timer_stop(struct hl_kvm *k) { (void)set_timer(k, 0, 0); }

void hl_kvm_timer_free(struct hl_kvm *k)
{
    if (k->timer_thread)
        (void)timer_delete(k->timer);
    k->timer_thread = 0;
}
