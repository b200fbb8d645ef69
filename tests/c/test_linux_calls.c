/* What system calls give a program: descriptors, signals, who it is; and any
 * call at all with arguments that no program has. */
#include "linux_bed.h"

enum {
    READ,
    WRITE,
    CLOSE = 3,
    STAT,
    FSTAT,
    LSEEK = 8,
    SIGACTION = 13,
    SIGPROCMASK,
    SIGRETURN,
    IOCTL,
    PREAD,
    WRITEV = 20,
    DUP = 32,
    DUP2,
    GETPID = 39,
    EXIT = 60,
    KILL = 62,
    UNAME,
    FCNTL = 72,
    GETCWD = 79,
    SIGPENDING = 127,
    SIGALTSTACK = 131,
    PRCTL = 157,
    ARCH_PRCTL,
    FUTEX = 202,
    AFFINITY = 204,
    CLOCK_GETTIME = 228,
    TGKILL = 234,
    OPENAT = 257,
    NEWFSTATAT = 262,
    DUP3 = 292,
    PRLIMIT = 302,
    GETRANDOM = 318,
};

#define EDGE (DATA + DATA_PAGES * PAGE) /* behind it is nothing */

static uint64_t word(const struct program *p, uint64_t addr)
{
    uint64_t value;

    memcpy(&value, at(p, addr), sizeof value);
    return value;
}

static void put(const struct program *p, uint64_t addr, const void *bytes,
                size_t size)
{
    memcpy(at(p, addr), bytes, size);
}

static void output_is_kept_up_to_a_limit(void)
{
    struct program *p = begin();
    struct hl_linux *l = &p->linux_;
    const uint64_t pieces[] = {DATA, 3, DATA + 1, 2, 0, 0};

    put(p, DATA, "abc", 3);
    put(p, DATA + 64, pieces, sizeof pieces);
    CHECK(CALL(p, WRITE, 1, DATA, 3) == 3);
    CHECK(CALL(p, WRITEV, 2, DATA + 64, 3) == 5);
    CHECK(CALL(p, WRITE, 1, DATA, 0) == 0);
    CHECK(l->output[0].size == 3 && memcmp(l->output[0].bytes, "abc", 3) == 0);
    CHECK(memcmp(l->output[1].bytes, "abcbc", 5) == 0);
    CHECK(CALL(p, WRITE, 1, EDGE - 1, 2) == -EFAULT);
    CHECK(CALL(p, WRITE, 1, KERNEL, 8) == -EFAULT);
    CHECK(CALL(p, WRITE, 0, DATA, 1) == -EBADF);
    CHECK(CALL(p, WRITEV, 1, DATA + 64, 1025) == -EINVAL);
    CHECK(l->limit == HL_LINUX_NO_LIMIT);
    for (int i = 0; i < 3; i++)
        CHECK(CALL(p, WRITE, 1, DATA, 5 * PAGE) == (int64_t)(5 * PAGE));
    CHECK(CALL(p, WRITE, 2, DATA, 5 * PAGE) == -EIO);
    CHECK(l->limit == HL_LINUX_OUTPUT_LIMIT);
    CHECK(l->output[1].size == 5);
    end(p);
}

static void input_is_read_once(void)
{
    struct program *p = begin();

    p->linux_.input = "hello";
    p->linux_.input_size = 5;
    CHECK(CALL(p, READ, 0, DATA, 2) == 2 && memcmp(at(p, DATA), "he", 2) == 0);
    CHECK(CALL(p, READ, 0, CODE, 2) == -EFAULT); /* and nothing is lost */
    CHECK(CALL(p, DUP, 0) == 3);
    CHECK(CALL(p, READ, 3, DATA, PAGE) == 3);
    CHECK(CALL(p, READ, 0, DATA, PAGE) == 0);
    CHECK(CALL(p, PREAD, 0, DATA, 1, 0) == -ESPIPE);
    CHECK(CALL(p, LSEEK, 0, 0, 0) == -ESPIPE);
    end(p);
}

static void descriptors_share_what_they_are_open_to(void)
{
    struct program *p = begin();

    CHECK(CALL(p, DUP, 1) == 3 && CALL(p, CLOSE, 1) == 0);
    CHECK(CALL(p, WRITE, 1, DATA, 1) == -EBADF);
    CHECK(CALL(p, WRITE, 3, DATA, 1) == 1);
    CHECK(CALL(p, DUP2, 3, 1) == 1 && CALL(p, DUP2, 1, 1) == 1);
    CHECK(CALL(p, DUP3, 1, 1, 0) == -EINVAL);
    CHECK(CALL(p, DUP3, 1, 9, 02000000) == 9);
    CHECK(CALL(p, FCNTL, 9, 1) == 1 && CALL(p, FCNTL, 9, 2, 0) == 0);
    CHECK(CALL(p, FCNTL, 9, 1) == 0);
    CHECK(CALL(p, FCNTL, 9, 0, 9) == 10 && CALL(p, FCNTL, 9, 1030, 20) == 20);
    CHECK(CALL(p, FCNTL, 1, 3) == 1);
    CHECK(CALL(p, FCNTL, 1, 4, 04000 | 1) == 0);
    CHECK(CALL(p, FCNTL, 9, 3) == (04000 | 1)); /* the same */
    CHECK(CALL(p, FCNTL, 1, 77) == -EINVAL);
    CHECK(CALL(p, FCNTL, 1, 0, HL_LINUX_FILES) == -EINVAL);
    CHECK(CALL(p, DUP2, 1, HL_LINUX_FILES) == -EBADF);
    CHECK(CALL(p, CLOSE, 77) == -EBADF &&
          CALL(p, CLOSE, UINT64_MAX) == -EBADF);
    int64_t last = 0;
    for (int64_t fd = 0; fd >= 0; fd = CALL(p, DUP, 1))
        last = fd;
    CHECK(last == HL_LINUX_FILES - 1 && CALL(p, DUP, 1) == -EMFILE);
    CHECK(CALL(p, IOCTL, 1, 0x5401, DATA) == -ENOTTY);
    for (uint64_t fd = 0; fd < HL_LINUX_FILES; fd++)
        (void)CALL(p, CLOSE, fd);
    for (size_t i = 0; i < HL_LINUX_FILES; i++)
        CHECK(p->linux_.process->open[i].refs == 0);
    CHECK(CALL(p, DUP, 0) == -EBADF);
    end(p);
}

static void names_that_are_of_nothing(void)
{
    struct program *p = begin();

    put(p, DATA, "/etc/passwd", 12);
    CHECK(CALL(p, OPENAT, UINT64_MAX - 99, DATA, 0) == -ENOENT);
    CHECK(CALL(p, STAT, DATA, DATA + 512) == -ENOENT);
    CHECK(CALL(p, STAT, EDGE, DATA) == -EFAULT);
    memset(at(p, DATA), 'a', 2 * PAGE);
    CHECK(CALL(p, STAT, DATA, DATA) == -ENAMETOOLONG);
    CHECK(CALL(p, STAT, EDGE - 1, DATA) == -ENOENT); /* "" */
    *at(p, EDGE - 1) = 'b';
    CHECK(CALL(p, STAT, EDGE - 1, DATA) == -EFAULT);
    *at(p, DATA) = 0;
    CHECK(CALL(p, NEWFSTATAT, 1, DATA, DATA + PAGE, 0x1000) == 0);
    CHECK((word(p, DATA + PAGE + 24) & 0170777) == 0010600);
    CHECK(CALL(p, FSTAT, 2, DATA + PAGE) == 0);
    CHECK(CALL(p, FSTAT, 2, EDGE - 143) == -EFAULT);
    CHECK(CALL(p, GETCWD, DATA, 1) == -ERANGE);
    CHECK(CALL(p, GETCWD, DATA, 2) == 2 && strcmp(at(p, DATA), "/") == 0);
    end(p);
}

#define HANDLER (CODE + 0x100)
#define RESTORER (CODE + 0x200)

static void handle(struct program *p, uint64_t signal, uint64_t flags)
{
    const uint64_t action[] = {HANDLER, flags | 0x04000000, RESTORER,
                               1 << 4 | 1 << 8}; /* KILL cannot be */

    put(p, DATA, action, sizeof action);
    CHECK(CALL(p, SIGACTION, signal, DATA, DATA + 64, 8) == 0);
}

static void handlers_get_a_frame_and_give_it_back(void)
{
    struct program *p = begin();
    struct hl_linux_process *k = p->linux_.process;

    handle(p, 10, 4);
    p->regs.gpr[HL_RBX] = 77;
    p->regs.gpr[15] = 99;
    p->regs.rflags = 0x2 | 0x400 | 1;
    struct hl_vm_regs before = p->regs;
    CHECK(CALL(p, TGKILL, 2, 2, 10) == 0); /* RAX, which is no argument */
    CHECK(p->regs.rip == HANDLER && p->regs.gpr[HL_RDI] == 10);
    uint64_t sp = p->regs.gpr[HL_RSP];
    CHECK(sp % 16 == 8 && word(p, sp) == RESTORER);
    CHECK(sp < before.gpr[HL_RSP] - 128 && p->regs.rflags == (0x2 | 1));
    CHECK((uint32_t)word(p, p->regs.gpr[HL_RSI]) == 10);
    CHECK(k->mask == (1 << 4 | 1 << 9));
    p->regs.gpr[HL_RBX] = p->regs.gpr[15] = 0;
    p->regs.rflags = 2 | 0x4;
    p->regs.gpr[HL_RSP] = sp + 8; /* as after RET */
    p->regs.rip = RESTORER;
    p->regs.gpr[HL_RAX] = SIGRETURN;
    hl_linux_serve(&p->linux_);
    CHECK(p->regs.rip == before.rip && p->regs.gpr[HL_RAX] == 0);
    CHECK(p->regs.gpr[HL_RSP] == before.gpr[HL_RSP]);
    CHECK(p->regs.gpr[HL_RBX] == 77 && p->regs.gpr[15] == 99);
    CHECK(p->regs.rflags == before.rflags && k->mask == 0);
    end(p);
}

static void what_is_blocked_waits(void)
{
    struct program *p = begin();
    const uint64_t set = 1 << 9 | 1 << 8; /* USR1, and KILL, which cannot be */

    handle(p, 10, 4);
    put(p, DATA, &set, sizeof set);
    CHECK(CALL(p, SIGPROCMASK, 0, DATA, DATA + 8, 8) == 0);
    CHECK(p->linux_.process->mask == 1 << 9);
    CHECK(CALL(p, KILL, 2, 10) == 0 && p->regs.rip == CODE);
    CHECK(CALL(p, SIGPENDING, DATA, 8) == 0 && word(p, DATA) == 1 << 9);
    put(p, DATA, &set, sizeof set);
    CHECK(CALL(p, SIGPROCMASK, 1, DATA, 0, 8) == 0);
    CHECK(p->regs.rip == HANDLER && p->linux_.process->pending == 0);
    end(p);
}

static void signals_end_or_do_not(void)
{
    static const struct {
        uint64_t signal;
        bool ends;
    } cases[] = {{6, true},   {9, true},   {15, true}, {17, false},
                 {19, false}, {28, false}, {64, true}};

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        struct program *p = begin();
        CHECK(CALL(p, KILL, 0, cases[i].signal) == 0);
        CHECK((p->linux_.end == HL_LINUX_SIGNALLED) == cases[i].ends);
        CHECK(!cases[i].ends || p->linux_.number == (int)cases[i].signal);
        end(p);
    }
    struct program *p = begin();
    CHECK(CALL(p, KILL, 3, 9) == -ESRCH && CALL(p, KILL, 2, 65) == -EINVAL);
    CHECK(CALL(p, KILL, 2, 0) == 0 && CALL(p, TGKILL, 2, 5, 9) == -ESRCH);
    CHECK(CALL(p, SIGACTION, 9, DATA, 0, 8) == -EINVAL);
    handle(p, 10, 4);
    p->regs.gpr[HL_RSP] = CODE + 8; /* no room for a frame */
    CHECK(CALL(p, KILL, 2, 10) == 0);
    CHECK(p->linux_.end == HL_LINUX_SIGNALLED && p->linux_.number == 11);
    end(p);
}

static void handlers_may_have_a_stack(void)
{
    struct program *p = begin();
    const struct hl_linux_stack stack = {.sp = ARENA, .size = 4 * PAGE};
    struct hl_linux_stack small = {.sp = ARENA, .size = 100};

    put(p, DATA, &small, sizeof small);
    CHECK(CALL(p, SIGALTSTACK, DATA, 0) == -ENOMEM);
    put(p, DATA, &stack, sizeof stack);
    CHECK(CALL(p, SIGALTSTACK, DATA, DATA + 64) == 0);
    CHECK((uint32_t)word(p, DATA + 72) == 2); /* there was none */
    handle(p, 10, 4 | 0x08000000);
    CHECK(CALL(p, KILL, 2, 10) == 0);
    CHECK(p->regs.gpr[HL_RSP] > ARENA &&
          p->regs.gpr[HL_RSP] < ARENA + 4 * PAGE);
    put(p, DATA, &stack, sizeof stack);
    CHECK(CALL(p, SIGALTSTACK, DATA, 0) == -EPERM); /* it is in use */
    CHECK(CALL(p, SIGALTSTACK, 0, DATA) == 0);
    CHECK((uint32_t)word(p, DATA + 8) == 1);
    end(p);
}

static void it_is_alone(void)
{
    struct program *p = begin();
    const uint64_t name[] = {0x6f6c6c6568, 0};
    uint64_t was = 0;

    CHECK(CALL(p, GETPID, 0) == 2);
    CHECK(CALL(p, UNAME, DATA) == 0 && strcmp(at(p, DATA), "Linux") == 0);
    CHECK(CALL(p, UNAME, EDGE - 389) == -EFAULT);
    CHECK(CALL(p, ARCH_PRCTL, 0x1002, DATA + 8) == 0);
    CHECK(CALL(p, ARCH_PRCTL, 0x1003, DATA) == 0 && word(p, DATA) == DATA + 8);
    CHECK(CALL(p, ARCH_PRCTL, 0x1002, UINT64_C(1) << 47) == -EPERM);
    CHECK(CALL(p, AFFINITY, 0, 8, DATA) == 8 && word(p, DATA) == 1);
    put(p, DATA, name, sizeof name);
    CHECK(CALL(p, PRCTL, 15, DATA) == 0 && CALL(p, PRCTL, 16, DATA + 64) == 0);
    CHECK(strcmp(at(p, DATA + 64), "hello") == 0);
    CHECK(CALL(p, PRLIMIT, 0, 7, 0, DATA) == 0);
    CHECK(word(p, DATA) == HL_LINUX_FILES);
    CHECK(CALL(p, PRLIMIT, 0, 7, DATA, 0) == -EPERM);
    memset(at(p, DATA), 0, 64);
    CHECK(CALL(p, GETRANDOM, DATA, 64, 0) == 64 && word(p, DATA) != 0);
    CHECK(CALL(p, FUTEX, DATA, 128, 5, 0) == -EAGAIN);
    CHECK(CALL(p, FUTEX, DATA, 129, 5) == 0);
    for (uint64_t clock = 0; clock < 12; clock++)
        CHECK(CALL(p, CLOCK_GETTIME, clock, DATA) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(CALL(p, CLOCK_GETTIME, 1, DATA) == 0);
        uint64_t now = word(p, DATA) * 1000000000 + word(p, DATA + 8);
        CHECK(now >= was && now < UINT64_C(3600000000000)); /* since then */
        was = now;
    }
    CHECK(CALL(p, CLOCK_GETTIME, 99, DATA) == -EINVAL);
    CHECK(CALL(p, EXIT, 0x1ff) == 0 && p->linux_.end == HL_LINUX_EXITED);
    CHECK(p->linux_.number == 0xff);
    end(p);
}

static void what_is_not_served_is_counted(void)
{
    struct program *p = begin();

    CHECK(CALL(p, 57, 0) == -ENOSYS && CALL(p, 57, 0) == -ENOSYS); /* fork */
    CHECK(CALL(p, UINT64_MAX, 0) == -ENOSYS);
    CHECK(p->linux_.refused[57] == 2);
    CHECK(p->linux_.refused[HL_LINUX_CALLS - 1] == 1);
    end(p);
}

#define PATHS (DATA + 2 * PAGE)

/* Names that calls meet each other by. */
static void put_paths(struct program *p)
{
    static const char paths[4][16] = {"/a", "b/../c", "a/", "."};

    put(p, PATHS, paths, sizeof paths);
}

/* Numbers that a hostile program would try. */
static uint64_t hostile(uint64_t *random)
{
    static const uint64_t few[] = {
        0,
        1,
        2,
        3,
        8,
        0x12,
        0x1002,
        4095,
        4096,
        4097,
        INT32_MAX,
        UINT32_MAX,
        0x80000000,
        UINT64_MAX,
        CODE,
        DATA,
        ARENA,
        KERNEL,
        EDGE,
        EDGE - 1,
        EDGE - 8,
        1 << 20,
        ARENA + 7,
        (uint64_t)INT64_MIN,
        PATHS,
        PATHS + 16,
        PATHS + 32,
        PATHS + 48,
        UINT64_C(1) << 47,
        UINT64_MAX - PAGE + 1,
    };
    uint64_t r = next_random(random);

    switch (r & 3) {
    case 0:
        return few[(r >> 8) % HL_ARRAY_SIZE(few)];
    case 1:
        return (r >> 8) % 64;
    case 2:
        return ARENA + (r >> 8) % (ARENA_PAGES * PAGE) / 8 * 8;
    default:
        return few[(r >> 8) % HL_ARRAY_SIZE(few)] + (r >> 40) % 16;
    }
}

/* All calls, and what they lead to: no memory but the program's is read or
 * written, W2, and tables stay what they are. */
static void no_call_does_harm(void)
{
    static const uint64_t served[] = {
        0,   1,   2,   3,   4,   5,   8,   9,   10,  11,  12,  13,  14,  15,
        16,  17,  18,  19,  20,  21,  24,  25,  26,  28,  32,  33,  62,  63,
        72,  79,  95,  96,  97,  98,  99,  100, 115, 118, 127, 131, 157, 158,
        200, 201, 202, 204, 218, 228, 229, 234, 257, 262, 292, 302, 318, 324,
    };
    uint64_t random = 7;

    for (int round = 0; round < FEWER_IF_SLOW(25); round++) {
        struct program *p = begin();
        p->linux_.input = "0123456789";
        p->linux_.input_size = 10;
        for (int i = 0; i < 2000; i++) {
            uint64_t args[6], r = next_random(&random);
            put_paths(p);
            for (size_t j = 0; j < 6; j++)
                args[j] = hostile(&random);
            for (int j = 0; j < 8; j++) /* for what is read by address */
                memcpy(at(p, ARENA + next_random(&random) %
                                         (ARENA_PAGES * PAGE / 8) * 8),
                       &args[j % 6], 8);
            if (i % 50 == 0) {
                memcpy(p->copy, p->memory, PAGES * PAGE);
                memset(p->told, 0, sizeof p->told);
            }
            if (r % 64 == 0)
                p->regs.gpr[HL_RSP] = hostile(&random);
            (void)make_call(
                p, r % 8 ? served[r / 8 % HL_ARRAY_SIZE(served)] : r / 8 % 600,
                args);
            if (i % 50 == 0)
                check_told(p);
            if (p->linux_.end != HL_LINUX_RUNS) {
                p->linux_.end = HL_LINUX_RUNS;
                p->regs.gpr[HL_RSP] = EDGE;
            }
            CHECK(p->linux_.process->mapping_count <= HL_LINUX_MAPPINGS);
        }
        end(p);
    }
}

int main(void)
{
    RUN(output_is_kept_up_to_a_limit);
    RUN(input_is_read_once);
    RUN(descriptors_share_what_they_are_open_to);
    RUN(names_that_are_of_nothing);
    RUN(handlers_get_a_frame_and_give_it_back);
    RUN(what_is_blocked_waits);
    RUN(signals_end_or_do_not);
    RUN(handlers_may_have_a_stack);
    RUN(it_is_alone);
    RUN(what_is_not_served_is_counted);
    RUN(no_call_does_harm);
    return 0;
}
