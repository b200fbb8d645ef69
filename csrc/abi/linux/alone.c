#include "abi/linux/alone.h"

#include <string.h>

#include "abi/linux/ids.h"
#include "abi/linux/mappings.h"

#define NICENESS 20 /* 20 - 0 */

int hl_linux_refusal(uint64_t number)
{
    switch (number) {
    case 101: /* ptrace */
    case 103: /* syslog */
    case 155: /* pivot_root */
    case 161: /* chroot */
    case 163: /* acct */
    case 164: /* settimeofday */
    case 165: /* mount */
    case 166: /* umount2 */
    case 167: /* swapon */
    case 168: /* swapoff */
    case 169: /* reboot */
    case 170: /* sethostname */
    case 171: /* setdomainname */
    case 172: /* iopl */
    case 173: /* ioperm */
    case 175: /* init_module */
    case 176: /* delete_module */
    case 179: /* quotactl */
    case 227: /* clock_settime */
    case 246: /* kexec_load */
    case 272: /* unshare */
    case 305: /* clock_adjtime */
    case 308: /* setns */
    case 310: /* process_vm_readv */
    case 311: /* process_vm_writev */
    case 313: /* finit_module */
        return -EPERM;
    default:
        /* setxattr and its kin */
        return number >= 188 && number <= 199 ? -EOPNOTSUPP : -ENOSYS;
    }
}

int64_t hl_linux_wait4(struct hl_linux *l, const uint64_t *args)
{
    (void)l, (void)args;
    return -ECHILD;
}

/* It leads its group and its session. */
int64_t hl_linux_setsid(struct hl_linux *l, const uint64_t *args)
{
    (void)l, (void)args;
    return -EPERM;
}

static bool is_itself(uint64_t pid)
{
    return (uint32_t)pid == 0 || (uint32_t)pid == HL_LINUX_PID;
}

int64_t hl_linux_getpgid(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    return is_itself(args[0]) ? HL_LINUX_PID : -ESRCH;
}

/* Root or, where -1 says so, as it is; of setuid and its kin, which have three
 * arguments at most: the others are the guest's to choose. */
int64_t hl_linux_to_root(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    for (int i = 0; i < 3; i++)
        if ((uint32_t)(args[i] + 1) > 1)
            return -EPERM;
    return 0;
}

int64_t hl_linux_getcpu(struct hl_linux *l, const uint64_t *args)
{
    const uint32_t first = 0;

    for (int i = 0; i < 2; i++)
        if (args[i] && hl_linux_put(l, args[i], &first, sizeof first) < 0)
            return -EFAULT;
    return 0;
}

int64_t hl_linux_sched_getscheduler(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    if ((int32_t)args[0] < 0)
        return -EINVAL;
    return is_itself(args[0]) ? 0 : -ESRCH;
}

int64_t hl_linux_sched_getparam(struct hl_linux *l, const uint64_t *args)
{
    const int32_t priority = 0;
    int64_t err = hl_linux_sched_getscheduler(l, args);

    if (err == 0 && args[1] == 0)
        return -EINVAL;
    return err < 0 ? err
                   : hl_linux_put(l, args[1], &priority, sizeof priority);
}

/* Of what is scheduled by priorities: SCHED_FIFO and SCHED_RR. */
static int64_t priority(uint64_t policy, int64_t of_those)
{
    switch ((uint32_t)policy) {
    case 1:
    case 2:
        return of_those;
    case 0:
    case 3:
    case 5:
    case 6:
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t hl_linux_sched_priority_max(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    return priority(args[0], 99);
}

int64_t hl_linux_sched_priority_min(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    return priority(args[0], 1);
}

int64_t hl_linux_getpriority(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    if ((uint32_t)args[0] > 2)
        return -EINVAL;
    return is_itself(args[1]) ? NICENESS : -ESRCH;
}

/* As it is, or asked what it is. */
int64_t hl_linux_personality(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    return (uint32_t)args[0] == UINT32_MAX || args[0] == 0 ? 0 : -EINVAL;
}

/* Mapped, or of the image. */
static bool is_there(const struct hl_linux *l, uint64_t start, uint64_t end)
{
    const struct hl_linux_process *p = l->process;

    if (!hl_window_allows(&l->window, start, end - start, HL_PERM_READ))
        return false;
    if (end <= l->arena.addr || start >= l->arena.addr + l->arena.size)
        return true;
    if (start < hl_linux_page_up(p->brk))
        start = hl_linux_page_up(p->brk);
    if (start >= end)
        return true;
    for (size_t at = hl_linux_mapping_behind(p, start);
         at < p->mapping_count && p->mappings[at].start <= start; at++) {
        if (p->mappings[at].end >= end)
            return true;
        start = p->mappings[at].end;
    }
    return false;
}

int64_t hl_linux_mincore(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t size = hl_linux_page_up(args[1]);

    if (args[0] % HL_LINUX_PAGE)
        return -EINVAL;
    if (args[1] == 0)
        return 0;
    if (size == 0 || args[0] > UINT64_MAX - size ||
        !is_there(l, args[0], args[0] + size))
        return -ENOMEM;
    void *to = hl_window_write(&l->window, args[2], size / HL_LINUX_PAGE);
    if (to == NULL)
        return -EFAULT;
    memset(to, 1, (size_t)(size / HL_LINUX_PAGE));
    return 0;
}
