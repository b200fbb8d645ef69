#include "abi/linux/ids.h"

#include <string.h>

#include "os/memory.h"

#define ARCH_SET_FS_ 0x1002
#define ARCH_GET_FS_ 0x1003

#define PR_SET_NAME_ 15
#define PR_GET_NAME_ 16

#define RLIMITS 16
#define RLIMIT_STACK_ 3
#define RLIMIT_CORE_ 4
#define RLIMIT_NPROC_ 6
#define RLIMIT_NOFILE_ 7
#define RLIM_INFINITY_ UINT64_MAX

#define FUTEX_WAIT_ 0
#define FUTEX_WAKE_ 1
#define FUTEX_WAIT_BITSET_ 9
#define FUTEX_WAKE_BITSET_ 10
#define FUTEX_COMMAND 0x7f

int64_t hl_linux_zero(struct hl_linux *l, const uint64_t *args)
{
    (void)l, (void)args;
    return 0;
}

int64_t hl_linux_getpid(struct hl_linux *l, const uint64_t *args)
{
    (void)l, (void)args;
    return HL_LINUX_PID;
}

int64_t hl_linux_getppid(struct hl_linux *l, const uint64_t *args)
{
    (void)l, (void)args;
    return 1;
}

int64_t hl_linux_getgroups(struct hl_linux *l, const uint64_t *args)
{
    (void)l;
    return (int32_t)args[0] < 0 ? -EINVAL : 0;
}

/* Real, effective and saved: root's, of nothing but itself. */
int64_t hl_linux_getresuid(struct hl_linux *l, const uint64_t *args)
{
    const uint32_t root = 0;

    for (int i = 0; i < 3; i++)
        if (hl_linux_put(l, args[i], &root, sizeof root) < 0)
            return -EFAULT;
    return 0;
}

int64_t hl_linux_set_tid_address(struct hl_linux *l, const uint64_t *args)
{
    l->process->clear_tid = args[0];
    return HL_LINUX_PID;
}

int64_t hl_linux_arch_prctl(struct hl_linux *l, const uint64_t *args)
{
    switch (args[0]) {
    case ARCH_SET_FS_:
        if (args[1] >= (uint64_t)1 << 47)
            return -EPERM;
        l->process->thread = args[1];
        return l->vm ? l->vm->ops->set_thread(l->vm, args[1]) : 0;
    case ARCH_GET_FS_:
        return hl_linux_put(l, args[1], &l->process->thread,
                            sizeof l->process->thread);
    default:
        return -EINVAL;
    }
}

int64_t hl_linux_prctl(struct hl_linux *l, const uint64_t *args)
{
    char name[sizeof l->process->name] = "";

    switch (args[0]) {
    case PR_SET_NAME_:
        for (uint64_t i = 0; i < sizeof name - 1; i++)
            if (hl_linux_get(l, args[1] + i, &name[i], 1) < 0)
                return -EFAULT;
            else if (name[i] == '\0')
                break;
        memcpy(l->process->name, name, sizeof name);
        return 0;
    case PR_GET_NAME_:
        return hl_linux_put(l, args[1], l->process->name, sizeof name);
    default:
        return -EINVAL;
    }
}

int64_t hl_linux_uname(struct hl_linux *l, const uint64_t *args)
{
    static const char names[6][65] = {
        "Linux", "guest", "6.1.0", "#1", "x86_64", "(none)",
    };

    return hl_linux_put(l, args[0], names, sizeof names);
}

/* Of a machine that has the arena and nothing else. */
int64_t hl_linux_sysinfo(struct hl_linux *l, const uint64_t *args)
{
    const struct {
        uint64_t up, loads[3], memory, free, shared, buffers, swap[2];
        uint16_t processes, pad[3];
        uint64_t high[2];
        uint32_t unit;
    } info = {
        .up = 1,
        .memory = l->arena.size,
        .free = l->arena.size,
        .processes = 1,
        .unit = 1,
    };

    _Static_assert(sizeof info == 112, "linux/sysinfo.h");
    return hl_linux_put(l, args[0], &info, sizeof info);
}

static int64_t tell_limit(const struct hl_linux *l, uint64_t which,
                          uint64_t addr)
{
    uint64_t limit = RLIM_INFINITY_;

    if (which == RLIMIT_STACK_)
        limit = l->stack_size;
    else if (which == RLIMIT_CORE_)
        limit = 0;
    else if (which == RLIMIT_NPROC_)
        limit = 1;
    else if (which == RLIMIT_NOFILE_)
        limit = l->process->most_files;
    const uint64_t soft_and_hard[] = {limit, limit};
    return hl_linux_put(l, addr, soft_and_hard, sizeof soft_and_hard);
}

int64_t hl_linux_getrlimit(struct hl_linux *l, const uint64_t *args)
{
    return args[0] < RLIMITS ? tell_limit(l, args[0], args[1]) : -EINVAL;
}

/* Limits are the host's to set. */
int64_t hl_linux_prlimit64(struct hl_linux *l, const uint64_t *args)
{
    if ((int32_t)args[0] != 0 && (int32_t)args[0] != HL_LINUX_PID)
        return -ESRCH;
    if (args[1] >= RLIMITS)
        return -EINVAL;
    if (args[2])
        return -EPERM;
    return args[3] ? tell_limit(l, args[1], args[3]) : 0;
}

int64_t hl_linux_sched_getaffinity(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t first = 1;

    if ((int32_t)args[0] != 0 && (int32_t)args[0] != HL_LINUX_PID)
        return -ESRCH;
    if (args[1] < sizeof first || args[1] % sizeof first)
        return -EINVAL;
    int err = hl_linux_put(l, args[2], &first, sizeof first);
    return err < 0 ? err : (int64_t)sizeof first;
}

/* Of one thread: it wakes nobody, and nobody would wake it. */
int64_t hl_linux_futex(struct hl_linux *l, const uint64_t *args)
{
    uint64_t command = args[1] & FUTEX_COMMAND;
    uint32_t value;

    if (command == FUTEX_WAKE_ || command == FUTEX_WAKE_BITSET_)
        return args[0] % sizeof value ? -EINVAL : 0;
    if (command != FUTEX_WAIT_ && command != FUTEX_WAIT_BITSET_)
        return -ENOSYS;
    if (args[0] % sizeof value)
        return -EINVAL;
    int err = hl_linux_get(l, args[0], &value, sizeof value);
    if (err < 0)
        return err;
    if (value != (uint32_t)args[2])
        return -EAGAIN;
    return args[3] ? -ETIMEDOUT : -EDEADLK;
}

int64_t hl_linux_getrandom(struct hl_linux *l, const uint64_t *args)
{
    uint64_t size =
        args[1] < HL_LINUX_MOST_RANDOM ? args[1] : HL_LINUX_MOST_RANDOM;

    if (args[2] & ~UINT64_C(7))
        return -EINVAL;
    if (size == 0)
        return 0;
    void *to = hl_window_write(&l->window, args[0], size);
    if (to == NULL)
        return -EFAULT;
    int err = hl_random(to, size);
    return err < 0 ? err : (int64_t)size;
}

int64_t hl_linux_exit(struct hl_linux *l, const uint64_t *args)
{
    l->end = HL_LINUX_EXITED;
    l->number = (int)(args[0] & 0xff);
    return 0;
}
