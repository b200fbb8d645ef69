#include "abi/linux/timers.h"

#include "abi/linux/clock.h"

#define SIGALRM_ 14
#define SECOND UINT64_C(1000000000)
#define MICROSECOND UINT64_C(1000)
#define LONGEST (UINT64_C(1) << 62)

struct interval { /* struct __kernel_old_itimerval */
    uint64_t every, every_rest, first, first_rest;
};

void hl_linux_run_timer(struct hl_linux *l)
{
    struct hl_linux_process *p = l->process;

    if (p->alarm_at == 0)
        return;
    uint64_t now = hl_linux_passed(l);
    if (now < p->alarm_at)
        return;
    hl_linux_pass(l, p->alarm_at);
    p->pending |= UINT64_C(1) << (SIGALRM_ - 1);
    if (p->frozen)
        now = p->alarm_at;
    p->alarm_at = p->alarm_every ? now + p->alarm_every -
                                       (now - p->alarm_at) % p->alarm_every
                                 : 0;
}

/* ns that are left; 0: there is none. */
static uint64_t left_of(const struct hl_linux *l)
{
    const struct hl_linux_process *p = l->process;
    uint64_t now = hl_linux_passed(l);

    if (p->alarm_at == 0)
        return 0;
    return p->alarm_at > now ? p->alarm_at - now : 1;
}

static void set(struct hl_linux *l, uint64_t first, uint64_t every)
{
    l->process->alarm_at = first ? hl_linux_passed(l) + first : 0;
    l->process->alarm_every = first ? every : 0;
}

int64_t hl_linux_alarm(struct hl_linux *l, const uint64_t *args)
{
    uint64_t left = left_of(l), seconds = left / SECOND;

    if (left % SECOND >= SECOND / 2 || (left && seconds == 0))
        seconds++;
    set(l, (uint32_t)args[0] * SECOND, 0);
    return (int64_t)seconds;
}

static int64_t tell(struct hl_linux *l, uint64_t addr)
{
    uint64_t left = (left_of(l) + MICROSECOND - 1) / MICROSECOND;
    uint64_t every = l->process->alarm_every / MICROSECOND;
    const struct interval told = {every / 1000000, every % 1000000,
                                  left / 1000000, left % 1000000};

    return hl_linux_put(l, addr, &told, sizeof told);
}

/* That of real time; the others would count what a processor does. */
int64_t hl_linux_getitimer(struct hl_linux *l, const uint64_t *args)
{
    return (uint32_t)args[0] ? -EINVAL : tell(l, args[1]);
}

static int check(uint64_t seconds, uint64_t rest, uint64_t *ns)
{
    if (seconds > INT64_MAX || rest >= 1000000)
        return -EINVAL;
    *ns = seconds < LONGEST / SECOND ? seconds * SECOND + rest * MICROSECOND
                                     : LONGEST;
    return 0;
}

int64_t hl_linux_setitimer(struct hl_linux *l, const uint64_t *args)
{
    struct interval new = {0};
    uint64_t first = 0, every = 0;

    if ((uint32_t)args[0])
        return -EINVAL;
    if (args[1] && hl_linux_get(l, args[1], &new, sizeof new) < 0)
        return -EFAULT;
    int err = check(new.first, new.first_rest, &first);
    if (err == 0)
        err = check(new.every, new.every_rest, &every);
    if (err == 0 && args[2])
        err = (int)tell(l, args[2]);
    if (err < 0)
        return err;
    set(l, first, every);
    return 0;
}
