/* Which system call is which, and how it is served; by its number on x86-64
 * (arch/x86/entry/syscalls/syscall_64.tbl in the kernel's sources).
 *
 * What is not here is refused: alone.h says how. */
#include "abi/linux/alone.h"
#include "abi/linux/clock.h"
#include "abi/linux/copies.h"
#include "abi/linux/descriptors.h"
#include "abi/linux/epoll.h"
#include "abi/linux/files.h"
#include "abi/linux/ids.h"
#include "abi/linux/names.h"
#include "abi/linux/paths.h"
#include "abi/linux/pipes.h"
#include "abi/linux/polls.h"
#include "abi/linux/signals.h"
#include "abi/linux/sockets.h"
#include "abi/linux/space.h"
#include "abi/linux/suspends.h"
#include "abi/linux/timers.h"
#include "abi/linux/volumes.h"
#include "os/wait.h"

/* One argument less than tgkill. */
static int64_t tkill(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t with_group[] = {HL_LINUX_PID, args[0], args[1]};

    return hl_linux_tgkill(l, with_group);
}

/* Older calls, as the newer ones of which they are a case. */
#define OLDER(name, newer, ...)                                               \
    static int64_t name(struct hl_linux *l, const uint64_t *args)             \
    {                                                                         \
        const uint64_t all[6] = {__VA_ARGS__};                                \
        return newer(l, all);                                                 \
    }
#define HERE HL_LINUX_HERE
#define NOFOLLOW 0x100 /* AT_SYMLINK_NOFOLLOW */

OLDER(open_, hl_linux_openat, HERE, args[0], args[1], args[2])
OLDER(creat_, hl_linux_openat, HERE, args[0],
      HL_O_CREAT | HL_O_WRONLY | HL_O_TRUNC, args[1])
OLDER(stat_, hl_linux_newfstatat, HERE, args[0], args[1])
OLDER(lstat_, hl_linux_newfstatat, HERE, args[0], args[1], NOFOLLOW)
OLDER(access_, hl_linux_faccessat, HERE, args[0], args[1])
OLDER(mkdir_, hl_linux_mkdirat, HERE, args[0], args[1])
OLDER(rmdir_, hl_linux_unlinkat, HERE, args[0], 0x200) /* AT_REMOVEDIR */
OLDER(unlink_, hl_linux_unlinkat, HERE, args[0])
OLDER(rename_, hl_linux_renameat, HERE, args[0], HERE, args[1])
OLDER(renameat_, hl_linux_renameat, args[0], args[1], args[2], args[3])
OLDER(symlink_, hl_linux_symlinkat, args[0], HERE, args[1])
OLDER(readlink_, hl_linux_readlinkat, HERE, args[0], args[1], args[2])
OLDER(chmod_, hl_linux_fchmodat, HERE, args[0], args[1])
OLDER(link_, hl_linux_linkat, HERE, args[0], HERE, args[1])
OLDER(mknod_, hl_linux_mknodat, HERE, args[0])
OLDER(chown_, hl_linux_fchownat, HERE, args[0], args[1], args[2])
OLDER(lchown_, hl_linux_fchownat, HERE, args[0], args[1], args[2], NOFOLLOW)
OLDER(pipe_, hl_linux_pipe2, args[0])
OLDER(eventfd_, hl_linux_eventfd2, args[0])
OLDER(setuid_, hl_linux_to_root, args[0])
OLDER(setreuid_, hl_linux_to_root, args[0], args[1])

static hl_linux_call *const calls[HL_LINUX_CALLS] = {
    [0] = hl_linux_read,
    [1] = hl_linux_write,
    [2] = open_,
    [3] = hl_linux_close,
    [4] = stat_,
    [5] = hl_linux_fstat,
    [6] = lstat_,
    [7] = hl_linux_poll,
    [8] = hl_linux_lseek,
    [9] = hl_linux_mmap,
    [10] = hl_linux_mprotect,
    [11] = hl_linux_munmap,
    [12] = hl_linux_brk,
    [13] = hl_linux_rt_sigaction,
    [14] = hl_linux_rt_sigprocmask,
    [15] = hl_linux_rt_sigreturn,
    [16] = hl_linux_ioctl,
    [17] = hl_linux_pread,
    [18] = hl_linux_pwrite,
    [19] = hl_linux_readv,
    [20] = hl_linux_writev,
    [21] = access_,
    [22] = pipe_,
    [23] = hl_linux_select,
    [24] = hl_linux_zero, /* sched_yield */
    [25] = hl_linux_mremap,
    [26] = hl_linux_msync,
    [27] = hl_linux_mincore,
    [28] = hl_linux_madvise,
    [32] = hl_linux_dup,
    [33] = hl_linux_dup2,
    [34] = hl_linux_pause,
    [35] = hl_linux_nanosleep,
    [36] = hl_linux_getitimer,
    [37] = hl_linux_alarm,
    [38] = hl_linux_setitimer,
    [39] = hl_linux_getpid,
    [40] = hl_linux_sendfile,
    [41] = hl_linux_socket,
    [42] = hl_linux_connect,
    [43] = hl_linux_not_of_a_pair, /* accept */
    [44] = hl_linux_sendto,
    [45] = hl_linux_recvfrom,
    [46] = hl_linux_sendmsg,
    [47] = hl_linux_recvmsg,
    [48] = hl_linux_shutdown,
    [49] = hl_linux_not_of_a_pair, /* bind */
    [50] = hl_linux_not_of_a_pair, /* listen */
    [51] = hl_linux_getsockname,
    [52] = hl_linux_getsockname, /* getpeername */
    [53] = hl_linux_socketpair,
    [54] = hl_linux_setsockopt,
    [55] = hl_linux_getsockopt,
    [60] = hl_linux_exit,
    [61] = hl_linux_wait4,
    [62] = hl_linux_kill,
    [63] = hl_linux_uname,
    [72] = hl_linux_fcntl,
    [73] = hl_linux_flock,
    [74] = hl_linux_fsync,
    [75] = hl_linux_fsync,
    [76] = hl_linux_truncate,
    [77] = hl_linux_ftruncate,
    [79] = hl_linux_getcwd,
    [80] = hl_linux_chdir,
    [81] = hl_linux_fchdir,
    [82] = rename_,
    [83] = mkdir_,
    [84] = rmdir_,
    [85] = creat_,
    [86] = link_,
    [87] = unlink_,
    [88] = symlink_,
    [89] = readlink_,
    [90] = chmod_,
    [91] = hl_linux_fchmod,
    [92] = chown_,
    [93] = hl_linux_fchown,
    [94] = lchown_,
    [95] = hl_linux_umask,
    [96] = hl_linux_gettimeofday,
    [97] = hl_linux_getrlimit,
    [98] = hl_linux_getrusage,
    [99] = hl_linux_sysinfo,
    [100] = hl_linux_times,
    [102] = hl_linux_zero, /* getuid */
    [104] = hl_linux_zero, /* getgid */
    [105] = setuid_,
    [106] = setuid_,       /* setgid */
    [107] = hl_linux_zero, /* geteuid */
    [108] = hl_linux_zero, /* getegid */
    [110] = hl_linux_getppid,
    [111] = hl_linux_getpid, /* getpgrp */
    [112] = hl_linux_setsid,
    [113] = setreuid_,
    [114] = setreuid_, /* setregid */
    [115] = hl_linux_getgroups,
    [117] = hl_linux_to_root, /* setresuid */
    [118] = hl_linux_getresuid,
    [119] = hl_linux_to_root,   /* setresgid */
    [120] = hl_linux_getresuid, /* getresgid */
    [121] = hl_linux_getpgid,
    [124] = hl_linux_getpgid, /* getsid */
    [127] = hl_linux_rt_sigpending,
    [128] = hl_linux_rt_sigtimedwait,
    [130] = hl_linux_rt_sigsuspend,
    [131] = hl_linux_sigaltstack,
    [133] = mknod_,
    [135] = hl_linux_personality,
    [137] = hl_linux_statfs,
    [138] = hl_linux_fstatfs,
    [140] = hl_linux_getpriority,
    [143] = hl_linux_sched_getparam,
    [145] = hl_linux_sched_getscheduler,
    [146] = hl_linux_sched_priority_max,
    [147] = hl_linux_sched_priority_min,
    [149] = hl_linux_zero, /* mlock */
    [150] = hl_linux_zero, /* munlock */
    [151] = hl_linux_zero, /* mlockall */
    [152] = hl_linux_zero, /* munlockall */
    [157] = hl_linux_prctl,
    [158] = hl_linux_arch_prctl,
    [162] = hl_linux_zero,   /* sync */
    [186] = hl_linux_getpid, /* gettid */
    [187] = hl_linux_readahead,
    [200] = tkill,
    [201] = hl_linux_time,
    [202] = hl_linux_futex,
    [204] = hl_linux_sched_getaffinity,
    [213] = hl_linux_epoll_create,
    [217] = hl_linux_getdents64,
    [218] = hl_linux_set_tid_address,
    [221] = hl_linux_fadvise64,
    [228] = hl_linux_clock_gettime,
    [229] = hl_linux_clock_getres,
    [230] = hl_linux_clock_nanosleep,
    [231] = hl_linux_exit, /* exit_group */
    [232] = hl_linux_epoll_wait,
    [233] = hl_linux_epoll_ctl,
    [234] = hl_linux_tgkill,
    [247] = hl_linux_wait4, /* waitid */
    [257] = hl_linux_openat,
    [258] = hl_linux_mkdirat,
    [259] = hl_linux_mknodat,
    [260] = hl_linux_fchownat,
    [262] = hl_linux_newfstatat,
    [263] = hl_linux_unlinkat,
    [264] = renameat_,
    [265] = hl_linux_linkat,
    [266] = hl_linux_symlinkat,
    [267] = hl_linux_readlinkat,
    [268] = hl_linux_fchmodat,
    [269] = hl_linux_faccessat,
    [270] = hl_linux_pselect6,
    [271] = hl_linux_ppoll,
    [273] = hl_linux_zero, /* set_robust_list */
    [280] = hl_linux_utimensat,
    [281] = hl_linux_epoll_pwait,
    [284] = eventfd_,
    [285] = hl_linux_fallocate,
    [288] = hl_linux_not_of_a_pair, /* accept4 */
    [290] = hl_linux_eventfd2,
    [291] = hl_linux_epoll_create1,
    [292] = hl_linux_dup3,
    [293] = hl_linux_pipe2,
    [295] = hl_linux_preadv,
    [296] = hl_linux_pwritev,
    [302] = hl_linux_prlimit64,
    [309] = hl_linux_getcpu,
    [316] = hl_linux_renameat,
    [318] = hl_linux_getrandom,
    [324] = hl_linux_zero, /* membarrier */
    [325] = hl_linux_zero, /* mlock2 */
    [326] = hl_linux_copy_file_range,
    [332] = hl_linux_statx,
    [436] = hl_linux_close_range,
    [439] = hl_linux_faccessat,
    [441] = hl_linux_epoll_pwait2,
};

/* Everything of the process but its mappings: a few pages, of which most calls
 * write some. */
static void expect_writes(struct hl_linux *l)
{
    hl_window_own(&l->window, l->process,
                  offsetof(struct hl_linux_process, mappings));
}

static int64_t serve(struct hl_linux *l, uint64_t number, const uint64_t *args)
{
    if (number < HL_LINUX_CALLS && calls[number])
        return calls[number](l, args);
    l->refused[number < HL_LINUX_CALLS ? number : HL_LINUX_CALLS - 1]++;
    return hl_linux_refusal(number);
}

/* What a call returns that waited until a signal came: -EINTR; or it is made
 * again, for which its instruction is two bytes before. */
static int64_t interrupt(struct hl_linux *l)
{
    struct hl_vm_regs *r = l->regs;

    if (!hl_linux_restarts(l, r->gpr[HL_RAX]))
        return -EINTR;
    r->rip -= 2;
    return (int64_t)r->gpr[HL_RAX];
}

void hl_linux_serve(struct hl_linux *l)
{
    struct hl_linux_process *p = l->process;
    struct hl_vm_regs *r = l->regs;
    const uint64_t args[6] = {
        r->gpr[HL_RDI], r->gpr[HL_RSI], r->gpr[HL_RDX],
        r->gpr[10],     r->gpr[8],      r->gpr[9],
    };

    expect_writes(l);
    hl_linux_run_timer(l);
    if (!p->waits && ++l->calls > l->calls_limit)
        l->limit = HL_LINUX_CALLS_LIMIT;
    int64_t result = serve(l, r->gpr[HL_RAX], args);
    bool is_over = result != HL_LINUX_WAITS && result != HL_LINUX_ASKS;
    if (result == HL_LINUX_WAITS && hl_linux_is_interrupted(l)) {
        result = interrupt(l);
        is_over = true;
    }
    if (is_over) {
        r->gpr[HL_RAX] = (uint64_t)result;
        p->waits = false;
        p->waits_for = p->wake_at = p->waits_from = 0;
        if (result != -EINTR)
            hl_linux_put_mask_back(l);
        hl_linux_deliver(l);
        hl_linux_put_mask_back(l);
    } else if (!p->waits) {
        p->waits = true;
        p->waits_from = hl_now();
        p->waits_for = p->wake_at = HL_LINUX_NEVER;
    }
    if (result != HL_LINUX_ASKS) {
        l->refusal = 0;
        l->answered_node = 0;
    }
}
