#include "abi/linux/suspends.h"

#include "abi/linux/clock.h"
#include "abi/linux/ids.h"

#define UNBLOCKABLE (UINT64_C(1) << 8 | UINT64_C(1) << 18) /* KILL, STOP */

int hl_linux_swap_mask(struct hl_linux *l, uint64_t addr, uint64_t size)
{
    struct hl_linux_process *p = l->process;
    uint64_t mask;

    if (addr == 0)
        return 0;
    if (size != sizeof mask)
        return -EINVAL;
    int err = hl_linux_get(l, addr, &mask, sizeof mask);
    if (err < 0)
        return err;
    if (!p->keeps_mask)
        p->kept_mask = p->mask;
    p->keeps_mask = true;
    p->mask = mask & ~UNBLOCKABLE;
    return 0;
}

void hl_linux_put_mask_back(struct hl_linux *l)
{
    struct hl_linux_process *p = l->process;

    if (p->keeps_mask)
        p->mask = p->kept_mask;
    p->keeps_mask = false;
    p->kept_mask = 0;
}

int64_t hl_linux_rt_sigsuspend(struct hl_linux *l, const uint64_t *args)
{
    if (args[1] != sizeof(uint64_t))
        return -EINVAL;
    if (args[0] == 0)
        return -EFAULT;
    int err = hl_linux_swap_mask(l, args[0], args[1]);
    return err < 0 ? err : HL_LINUX_WAITS;
}

/* What is told of a signal: that the program sent it to itself. */
static int tell(const struct hl_linux *l, uint64_t addr, int signal)
{
    const struct {
        int32_t signal, error, code, pad, pid, uid;
        int32_t rest[26];
    } info = {.signal = signal, .pid = HL_LINUX_PID};

    _Static_assert(sizeof info == 128, "asm-generic/siginfo.h");
    return addr ? hl_linux_put(l, addr, &info, sizeof info) : 0;
}

int64_t hl_linux_rt_sigtimedwait(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_process *p = l->process;
    uint64_t set, ns = HL_LINUX_NEVER;

    if (args[3] != sizeof set)
        return -EINVAL;
    int err = hl_linux_get(l, args[0], &set, sizeof set);
    if (err == 0 && args[2])
        err = hl_linux_get_time(l, args[2], &ns);
    if (err < 0)
        return err;
    set &= p->pending & ~UNBLOCKABLE;
    if (set == 0)
        return hl_linux_time_is_up(l, ns) ? -EAGAIN : HL_LINUX_WAITS;
    int signal = 1 + __builtin_ctzll(set);
    err = tell(l, args[1], signal);
    if (err < 0)
        return err;
    p->pending &= ~(UINT64_C(1) << (signal - 1));
    return signal;
}
