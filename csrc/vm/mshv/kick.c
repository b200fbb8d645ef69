/* How a run is ended from outside: by a signal that is sent until it has.
 *
 * RUN_VP returns EINTR for a signal that the thread does not block and that
 * has a handler; there is no way to unblock one for the time of the call only,
 * as KVM has.  So a signal may come after the last look at `kicked` and before
 * the kernel's first, and is then lost.  Therefore a kick starts a timer,
 * whose signal comes every millisecond, to the thread that runs, until the run
 * is over.
 *
 * SIGURG gets a handler that does nothing, where it has none; a program's own
 * is left alone, and called for kicks, as for any SIGURG that nobody sent it.
 * A program may take ours away at any time, also while the guest runs.
 * Timers are not inherited by a child of fork, whose numbers may be those of
 * others. */
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/forked.h"
#include "vm/mshv/machine.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define AGAIN_NS 1000000

/* Async-signal-safe. */
static void nothing(int signal) { (void)signal; }

static bool has_handler(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO ||
           (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

/* Looked at before each run and at each kick.  One that the program puts there
 * just now is put back.  Async-signal-safe. */
static int want_handler(void)
{
    struct sigaction now,
        ours = {.sa_handler = nothing, .sa_flags = SA_RESTART | SA_ONSTACK};

    if (sigaction(HL_KICK, NULL, &now) < 0)
        return -errno;
    if (has_handler(&now))
        return 0;
    if (sigaction(HL_KICK, &ours, &now) < 0)
        return -errno;
    return has_handler(&now) && sigaction(HL_KICK, &now, NULL) < 0 ? -errno
                                                                   : 0;
}

void hl_mshv_kick_free(struct hl_mshv *m)
{
    if (m->has_timer && m->generation == hl_fork_generation())
        (void)timer_delete(m->timer);
    m->has_timer = false;
}

static int want_timer(struct hl_mshv *m)
{
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID,
        .sigev_signo = HL_KICK,
    };

    if (m->has_timer && m->runner == hl_thread_number())
        return 0;
    hl_mshv_kick_free(m);
    event.sigev_notify_thread_id = hl_thread_id();
    if (timer_create(CLOCK_MONOTONIC, &event, &m->timer) < 0)
        return -errno;
    m->has_timer = true;
    m->runner = hl_thread_number();
    m->generation = hl_fork_generation();
    return 0;
}

static void set_timer(struct hl_mshv *m, long first_ns, long then_ns)
{
    const struct itimerspec when = {
        .it_value.tv_nsec = first_ns,
        .it_interval.tv_nsec = then_ns,
    };

    (void)timer_settime(m->timer, 0, &when, NULL);
}

int hl_mshv_kick_open(struct hl_mshv *m)
{
    uint64_t mask;

    int err = want_handler();
    if (err < 0)
        return err;
    err = want_timer(m);
    if (err < 0)
        return err;
    err = hl_signal_mask(SIG_BLOCK, 0, &mask);
    if (err < 0)
        return err;
    m->was_blocked = mask & HL_KICK_BIT;
    if (m->was_blocked) {
        hl_signal_keep(&m->kept, mask);
        err = hl_signal_mask(SIG_UNBLOCK, HL_KICK_BIT, NULL);
        if (err < 0) {
            hl_signal_give_back(&m->kept);
            return err;
        }
    }
    atomic_store(&m->kick, HL_MSHV_INSIDE);
    return 0;
}

void hl_mshv_kick_close(struct hl_mshv *m)
{
    enum hl_mshv_kick was = HL_MSHV_INSIDE;

    while (!atomic_compare_exchange_strong(&m->kick, &was, HL_MSHV_OUTSIDE)) {
        if (was == HL_MSHV_SENT) {
            set_timer(m, 0, 0);
            atomic_store(&m->kick, HL_MSHV_OUTSIDE);
            break;
        }
        sched_yield(); /* the sender is between two lines of hl_mshv_kick */
        was = HL_MSHV_INSIDE;
    }
    if (m->was_blocked) {
        (void)hl_signal_mask(SIG_BLOCK, HL_KICK_BIT, NULL);
        hl_signal_give_back(&m->kept);
    }
}

/* `kicked` is set before `kick` is looked at, and looked at after `kick` is
 * set: either the runner sees it before RUN_VP, or the timer is started. */
void hl_mshv_kick(struct hl_vm *vm)
{
    struct hl_mshv *m = hl_mshv_of(vm);
    enum hl_mshv_kick was = HL_MSHV_INSIDE;
    int saved = errno;

    atomic_store(&m->kicked, true);
    (void)want_handler();
    if (atomic_compare_exchange_strong(&m->kick, &was, HL_MSHV_SENDING)) {
        set_timer(m, 1, AGAIN_NS);
        atomic_store(&m->kick, HL_MSHV_SENT);
    }
    errno = saved;
}
