#include "abi/linux/clock.h"

#include "abi/linux/linux.h"
#include "abi/linux/signals.h"
#include "os/wait.h"

#define CLOCKS 12
#define CLOCK_REALTIME_ 0
#define CLOCK_REALTIME_COARSE_ 5
#define CLOCK_TAI_ 11
#define TIMER_ABSTIME_ 1

#define SECOND UINT64_C(1000000000)

struct timespec_ {
    uint64_t seconds, rest;
};

uint64_t hl_linux_now(const struct hl_linux *l)
{
    return l->process->frozen ? l->process->frozen : hl_real_time();
}

/* L4: it began with the program. */
static uint64_t passed(const struct hl_linux *l)
{
    return l->process->frozen ? l->process->frozen_passed
                              : hl_now() - l->began;
}

/* What has been waited for so far has passed, also where time is frozen. */
uint64_t hl_linux_passed(const struct hl_linux *l)
{
    const struct hl_linux_process *p = l->process;

    if (!p->frozen || !p->waits)
        return passed(l);
    uint64_t waited = hl_now() - p->waits_from;
    return passed(l) + (waited < p->waits_for ? waited : p->waits_for);
}

/* Frozen time goes on to there, in the middle of waiting. */
void hl_linux_pass(struct hl_linux *l, uint64_t until)
{
    struct hl_linux_process *p = l->process;

    if (!p->frozen || until <= p->frozen_passed)
        return;
    uint64_t ns = until - p->frozen_passed;
    p->frozen += ns;
    p->frozen_passed = until;
    p->waits_from += ns;
    if (p->waits_for != HL_LINUX_NEVER)
        p->waits_for -= ns < p->waits_for ? ns : p->waits_for;
}

uint64_t hl_linux_wakes_at(const struct hl_linux *l, uint64_t alarm_at)
{
    const struct hl_linux_process *p = l->process;
    uint64_t host = hl_now(); /* first: rather too early than too late */
    uint64_t now = hl_linux_passed(l);

    if (alarm_at == 0)
        return p->wake_at;
    uint64_t at = host + (alarm_at > now ? alarm_at - now : 0);
    return at < p->wake_at ? at : p->wake_at;
}

uint64_t hl_linux_ms(int32_t ms)
{
    return ms < 0 ? HL_LINUX_NEVER : (uint64_t)ms * 1000000;
}

void hl_linux_freeze_time(struct hl_linux *l, uint64_t time)
{
    struct hl_linux_process *p = l->process;

    hl_window_own(&l->window, p, HL_LINUX_PAGE);
    p->frozen_passed = time ? passed(l) : 0;
    p->frozen = time;
}

static uint64_t time_of(const struct hl_linux *l, uint64_t clock)
{
    if (clock == CLOCK_REALTIME_ || clock == CLOCK_REALTIME_COARSE_ ||
        clock == CLOCK_TAI_)
        return hl_linux_now(l);
    return passed(l);
}

static int64_t tell_time(const struct hl_linux *l, uint64_t addr, uint64_t ns)
{
    const struct timespec_ time = {ns / SECOND, ns % SECOND};

    return hl_linux_put(l, addr, &time, sizeof time);
}

int64_t hl_linux_clock_gettime(struct hl_linux *l, const uint64_t *args)
{
    if ((uint32_t)args[0] >= CLOCKS)
        return -EINVAL;
    return tell_time(l, args[1], time_of(l, (uint32_t)args[0]));
}

int64_t hl_linux_clock_getres(struct hl_linux *l, const uint64_t *args)
{
    if ((uint32_t)args[0] >= CLOCKS)
        return -EINVAL;
    return args[1] ? tell_time(l, args[1], 1) : 0;
}

int64_t hl_linux_gettimeofday(struct hl_linux *l, const uint64_t *args)
{
    uint64_t now = hl_linux_now(l);
    const struct timespec_ time = {now / SECOND, now % SECOND / 1000};
    const uint64_t greenwich = 0;

    if (args[0] && hl_linux_put(l, args[0], &time, sizeof time) < 0)
        return -EFAULT;
    return args[1] ? hl_linux_put(l, args[1], &greenwich, sizeof greenwich)
                   : 0;
}

int64_t hl_linux_time(struct hl_linux *l, const uint64_t *args)
{
    uint64_t now = hl_linux_now(l) / SECOND;

    if (args[0] && hl_linux_put(l, args[0], &now, sizeof now) < 0)
        return -EFAULT;
    return (int64_t)now;
}

int64_t hl_linux_getrusage(struct hl_linux *l, const uint64_t *args)
{
    uint64_t now = passed(l);
    const uint64_t usage[18] = {now / SECOND, now % SECOND / 1000};
    int32_t who = (int32_t)args[0];

    if (who != 0 && who != 1 && who != -1)
        return -EINVAL;
    return hl_linux_put(l, args[1], usage, sizeof usage);
}

/* In hundredths of a second. */
int64_t hl_linux_times(struct hl_linux *l, const uint64_t *args)
{
    uint64_t now = passed(l) / (SECOND / 100);
    const uint64_t times[4] = {now};

    if (args[0] && hl_linux_put(l, args[0], times, sizeof times) < 0)
        return -EFAULT;
    return (int64_t)now;
}

int hl_linux_get_time(const struct hl_linux *l, uint64_t addr, uint64_t *ns)
{
    struct timespec_ time;

    int err = hl_linux_get(l, addr, &time, sizeof time);
    if (err < 0)
        return err;
    if (time.rest >= SECOND || time.seconds > INT64_MAX)
        return -EINVAL;
    *ns = time.seconds < UINT32_MAX ? time.seconds * SECOND + time.rest
                                    : HL_LINUX_NEVER;
    return 0;
}

int hl_linux_get_timeval(const struct hl_linux *l, uint64_t addr, uint64_t *ns)
{
    struct timespec_ time; /* with microseconds */

    int err = hl_linux_get(l, addr, &time, sizeof time);
    if (err < 0)
        return err;
    if (time.rest > INT64_MAX || time.seconds > INT64_MAX)
        return -EINVAL;
    uint64_t seconds = time.seconds + time.rest / 1000000;
    *ns = seconds < UINT32_MAX ? seconds * SECOND + time.rest % 1000000 * 1000
                               : HL_LINUX_NEVER;
    return 0;
}

/* wake_at is in the host's time, and not put into a snapshot: none is taken
 * in the middle of a call. */
bool hl_linux_time_is_up(struct hl_linux *l, uint64_t ns)
{
    struct hl_linux_process *p = l->process;

    if (!p->waits) {
        uint64_t now = hl_now();
        p->waits = true;
        p->waits_from = now;
        p->waits_for = ns;
        p->wake_at = ns < HL_LINUX_NEVER - now ? now + ns : HL_LINUX_NEVER;
        if (ns > 0) /* however late it is by now: a call waits, or never */
            return false;
    }
    if (hl_now() < p->wake_at)
        return false;
    if (p->frozen) {
        p->frozen += p->waits_for;
        p->frozen_passed += p->waits_for;
        p->waits_for = 0;
    }
    return true;
}

/* left: where to tell what was left when a signal came, or 0. */
static int64_t sleep_for(struct hl_linux *l, uint64_t ns, uint64_t left)
{
    const struct hl_linux_process *p = l->process;

    if (hl_linux_time_is_up(l, ns))
        return 0;
    if (!hl_linux_is_interrupted(l))
        return HL_LINUX_WAITS;
    ns = p->frozen || p->waits_for == HL_LINUX_NEVER ? p->waits_for
                                                     : p->wake_at - hl_now();
    return left && tell_time(l, left, ns) < 0 ? -EFAULT : -EINTR;
}

int64_t hl_linux_nanosleep(struct hl_linux *l, const uint64_t *args)
{
    uint64_t ns;

    int err = hl_linux_get_time(l, args[0], &ns);
    return err < 0 ? err : sleep_for(l, ns, args[1]);
}

int64_t hl_linux_clock_nanosleep(struct hl_linux *l, const uint64_t *args)
{
    uint64_t ns, now;

    if ((uint32_t)args[0] >= CLOCKS || args[1] > TIMER_ABSTIME_)
        return -EINVAL;
    int err = hl_linux_get_time(l, args[2], &ns);
    if (err < 0)
        return err;
    now = time_of(l, (uint32_t)args[0]);
    if (args[1] == TIMER_ABSTIME_ && ns != HL_LINUX_NEVER)
        ns = ns > now ? ns - now : 0;
    return sleep_for(l, ns, args[1] == TIMER_ABSTIME_ ? 0 : args[3]);
}

/* Until a signal comes. */
int64_t hl_linux_pause(struct hl_linux *l, const uint64_t *args)
{
    (void)args;
    return sleep_for(l, HL_LINUX_NEVER, 0);
}
