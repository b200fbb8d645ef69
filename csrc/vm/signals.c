#include "vm/signals.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/forked.h"

sigset_t hl_signals_block(void)
{
    sigset_t all, before;

    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    return before;
}

void hl_signals_put_back(const sigset_t *before)
{
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

int hl_signal_mask(int how, uint64_t mask, uint64_t *old)
{
    return syscall(SYS_rt_sigprocmask, how, &mask, old, sizeof mask) < 0
               ? -errno
               : 0;
}

pid_t hl_thread_id(void)
{
    static _Thread_local pid_t self;
    static _Thread_local unsigned generation;

    if (self == 0 || generation != hl_fork_generation()) {
        generation = hl_fork_generation();
        self = (pid_t)syscall(SYS_gettid);
    }
    return self;
}

bool hl_signal_take(siginfo_t *info)
{
    const struct timespec now = {0, 0};
    const uint64_t kick = HL_KICK_BIT;

    return syscall(SYS_rt_sigtimedwait, &kick, info, &now, sizeof kick) ==
           HL_KICK;
}

void hl_signal_keep(struct hl_kept_signal *kept, uint64_t callers_mask)
{
    if (callers_mask & HL_KICK_BIT)
        while (hl_signal_take(&kept->info))
            kept->kept = true;
}

void hl_signal_give_back(struct hl_kept_signal *kept)
{
    if (kept->kept && kept->info.si_code == SI_TKILL) /* to this thread */
        (void)syscall(SYS_rt_tgsigqueueinfo, getpid(), hl_thread_id(), HL_KICK,
                      &kept->info);
    else if (kept->kept)
        (void)syscall(SYS_rt_sigqueueinfo, getpid(), HL_KICK, &kept->info);
    kept->kept = false;
}
