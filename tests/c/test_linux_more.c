/* Calls that tell a program that it is alone, what its file system is, and
 * what it may not; and any of the calls on pipes, sockets and waiting with
 * arguments that no program has. */
#include "abi/linux/numbers.h"
#include "linux_more_bed.h"

static void it_is_alone(void)
{
    struct program *p = begin();

    CHECK(CALL(p, GETCPU, DATA, DATA + 4) == 0 && CALL(p, GETCPU, 0, 0) == 0);
    CHECK(CALL(p, GETCPU, EDGE) == -EFAULT);
    CHECK(CALL(p, SCHED_GETSCHEDULER, 0) == 0);
    CHECK(CALL(p, SCHED_GETSCHEDULER, 9) == -ESRCH);
    CHECK(CALL(p, SCHED_GETSCHEDULER, UINT32_MAX) == -EINVAL);
    CHECK(CALL(p, SCHED_GETPARAM, 2, DATA) == 0);
    CHECK(CALL(p, SCHED_GETPARAM, 2, 0) == -EINVAL);
    CHECK(CALL(p, PRIORITY_MAX, 1) == 99 && CALL(p, PRIORITY_MIN, 2) == 1);
    CHECK(CALL(p, PRIORITY_MAX, 0) == 0 && CALL(p, PRIORITY_MIN, 9) < 0);
    CHECK(CALL(p, GETPRIORITY, 0, 0) == 20);
    CHECK(CALL(p, GETPRIORITY, 3, 0) == -EINVAL);
    CHECK(CALL(p, GETPRIORITY, 0, 77) == -ESRCH);
    CHECK(CALL(p, GETSID, 0) == 2 && CALL(p, GETSID, 3) == -ESRCH);
    CHECK(CALL(p, SETSID, 0) == -EPERM && CALL(p, WAIT4, 0) == -ECHILD);
    CHECK(CALL(p, PERSONALITY, UINT32_MAX) == 0);
    CHECK(CALL(p, PERSONALITY, 0x40000) == -EINVAL);
    CHECK(CALL(p, SETUID, 0, 5, 5) == 0 && CALL(p, SETUID, 1) == -EPERM);
    CHECK(CALL(p, 113, UINT32_MAX, 0, 7) == 0 && CALL(p, 113, 0, 7) < 0);
    CHECK(CALL(p, 117, 0, UINT32_MAX, 0) == 0 && CALL(p, 117, 0, 0, 7) < 0);
    end(p);
}

static void its_file_system_is_told(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    uint64_t folder = UINT64_MAX - 99;

    make(p, "/f", "hello");
    CHECK(by_name(p, STATFS, "/f", DATA + 512, 0) == 0);
    CHECK(word(p, DATA + 512) == 0x01021994);
    CHECK(word(p, DATA + 528) == FILE_PAGES);
    CHECK(word(p, DATA + 536) == FILE_PAGES - 1);
    CHECK(by_name(p, STATFS, "/g", DATA + 512, 0) == -ENOENT);
    CHECK(CALL(p, FSTATFS, e.in, DATA) == 0);
    CHECK(CALL(p, FSTATFS, 99, DATA) == -EBADF);
    CHECK(CALL(p, STATX, folder, text(p, TEXT, "f"), 0, 0x7ff, DATA + 512) ==
          0);
    CHECK(word32(p, DATA + 512) == 0x7ff && word(p, DATA + 552) == 5);
    CHECK((word32(p, DATA + 540) & 0xffff) == 0100644);
    CHECK(word(p, DATA + 512 + 64) == word(p, DATA + 512 + 112));
    CHECK(word(p, DATA + 512 + 80) == 0); /* when it was made */
    CHECK(CALL(p, STATX, e.in, text(p, TEXT, ""), 0x1000, 0, DATA + 512) == 0);
    CHECK((word32(p, DATA + 540) & 0170000) == 0010000);
    CHECK(CALL(p, STATX, folder, TEXT, 0x6000, 0, DATA) == -EINVAL);
    CHECK(CALL(p, STATX, folder, TEXT, 0, 0x80000000, DATA) == -EINVAL);
    CHECK(CALL(p, STATX, folder, text(p, TEXT, "f"), 0, 0, EDGE - 255) ==
          -EFAULT);
    end(p);
}

static void what_its_files_cannot_do(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);

    make(p, "/f", "hello");
    CHECK(by_names(p, LINK, "/f", "/g") == -EPERM);
    CHECK(by_names(p, LINK, "/f", "/f") == -EEXIST);
    CHECK(by_names(p, LINK, "/h", "/g") == -ENOENT);
    CHECK(by_name(p, MKNOD, "/g", 0010600, 0) == -EPERM);
    CHECK(by_name(p, MKNOD, "/f", 0010600, 0) == -EEXIST);
    CHECK(by_name(p, CHOWN, "/f", 0, UINT32_MAX) == 0);
    CHECK(by_name(p, CHOWN, "/f", 1000, 0) == -EPERM);
    CHECK(by_name(p, CHOWN, "/f", 0, 1000) == -EPERM);
    CHECK(by_name(p, CHOWN, "/dev", 0, 0) == -EROFS);
    int64_t f = open_file(p, "/f", 0);
    CHECK(CALL(p, FCHOWN, (uint64_t)f, 0, 0) == 0);
    CHECK(CALL(p, FCHOWN, 99, 0, 0) == -EBADF);
    CHECK(CALL(p, FLOCK, (uint64_t)f, 2 | 4) == 0);
    CHECK(CALL(p, FLOCK, (uint64_t)f, 3) == -EINVAL);
    CHECK(CALL(p, FLOCK, 99, 1) == -EBADF);
    CHECK(CALL(p, FADVISE, (uint64_t)f, 0, 0, 2) == 0);
    CHECK(CALL(p, FADVISE, (uint64_t)f, 0, 0, 9) == -EINVAL);
    CHECK(CALL(p, FADVISE, e.in, 0, 0, 2) == -ESPIPE);
    CHECK(CALL(p, READAHEAD, (uint64_t)f, 0, 9) == 0);
    CHECK(CALL(p, READAHEAD, e.in, 0, 9) == -EINVAL);
    end(p);
}

static void files_are_copied(void)
{
    struct program *p = begin();
    struct ends e = new_pipe(p, 0);
    const uint64_t two = 2;

    make(p, "/f", "0123456789");
    uint64_t f = (uint64_t)open_file(p, "/f", RDWR);
    uint64_t g = (uint64_t)open_file(p, "/g", CREAT | RDWR);
    CHECK(CALL(p, SENDFILE, g, f, 0, 4) == 4);
    CHECK(CALL(p, SENDFILE, g, f, 0, 100) == 6);
    CHECK(CALL(p, SENDFILE, g, f, 0, 100) == 0 &&
          holds(p, "/g", "0123456789"));
    put(p, DATA, &two, 8);
    CHECK(CALL(p, SENDFILE, g, f, DATA, 3) == 3 && word(p, DATA) == 5);
    CHECK(holds(p, "/g", "0123456789234"));
    CHECK(CALL(p, SENDFILE, e.out, f, DATA, 3) == -EINVAL);
    CHECK(CALL(p, SENDFILE, f, e.in, 0, 3) == -EINVAL);
    CHECK(CALL(p, SENDFILE, g, 99, 0, 3) == -EBADF);
    CHECK(CALL(p, SENDFILE, g, f, CODE, 3) == -EFAULT);
    put_words(p, DATA, 1, 3 * PAGE); /* it grows: a hole, then this */
    CHECK(CALL(p, COPY_FILE_RANGE, f, DATA, g, DATA + 8, 5, 0) == 5);
    CHECK(word(p, DATA) == 6 && word(p, DATA + 8) == 3 * PAGE + 5);
    put_words(p, DATA, 3 * PAGE, 0);
    CHECK(CALL(p, COPY_FILE_RANGE, g, DATA, f, DATA + 8, 99, 0) == 5);
    CHECK(holds(p, "/f", "1234556789"));
    put_words(p, DATA, 0, 2);
    CHECK(CALL(p, COPY_FILE_RANGE, f, DATA, f, DATA + 8, 5, 0) == -EINVAL);
    CHECK(CALL(p, COPY_FILE_RANGE, f, DATA, f, DATA + 8, 2, 0) == 2);
    CHECK(CALL(p, COPY_FILE_RANGE, f, 0, g, 0, 5, 1) == -EINVAL);
    put_words(p, DATA, 0, 2 * PAGE); /* it moves while it grows */
    CHECK(CALL(p, COPY_FILE_RANGE, f, DATA, f, DATA + 8, 5, 0) == 5);
    CHECK(CALL(p, PREAD, f, DATA, 9, 2 * PAGE) == 5);
    CHECK(memcmp(at(p, DATA), "12125", 5) == 0);
    put_words(p, DATA, UINT64_MAX, 0);
    CHECK(CALL(p, SENDFILE, g, f, DATA, 3) == -EINVAL);
    put_words(p, DATA, 0, INT64_MAX);
    CHECK(CALL(p, COPY_FILE_RANGE, f, DATA, g, DATA + 8, 5, 0) == -EFBIG);
    put_words(p, DATA, 0, (FILE_PAGES + 1) * PAGE);
    CHECK(CALL(p, COPY_FILE_RANGE, f, DATA, g, DATA + 8, 5, 0) == -ENOSPC);
    check_tree(p);
    end(p);
}

static void memory_is_there(void)
{
    struct program *p = begin();

    CHECK(CALL(p, MMAP, 0, 3 * PAGE, 3, 0x22, UINT64_MAX, 0) > 0);
    uint64_t start = p->regs.gpr[HL_RAX];
    CHECK(CALL(p, MINCORE, start, 2 * PAGE + 1, DATA) == 0);
    CHECK(memcmp(at(p, DATA), "\1\1\1", 4) == 0);
    CHECK(CALL(p, MINCORE, start, 4 * PAGE, DATA) == -ENOMEM);
    CHECK(CALL(p, 11, start + PAGE, PAGE) == 0); /* munmap */
    CHECK(CALL(p, MINCORE, start, 3 * PAGE, DATA) == -ENOMEM);
    CHECK(CALL(p, MINCORE, start, PAGE, DATA) == 0);
    CHECK(CALL(p, MINCORE, CODE, PAGE, DATA) == 0);
    CHECK(CALL(p, MINCORE, KERNEL, PAGE, DATA) == -ENOMEM);
    CHECK(CALL(p, MINCORE, 0, PAGE, DATA) == -ENOMEM);
    CHECK(CALL(p, MINCORE, start + 1, PAGE, DATA) == -EINVAL);
    CHECK(CALL(p, MINCORE, start, PAGE, CODE) == -EFAULT);
    CHECK(CALL(p, MINCORE, start, UINT64_MAX, DATA) == -ENOMEM);
    CHECK(CALL(p, 12, ARENA + PAGE) == (int64_t)(ARENA + PAGE)); /* brk */
    CHECK(CALL(p, MINCORE, ARENA, PAGE, DATA) == 0);
    end(p);
}

static void what_is_refused_is_counted(void)
{
    static const struct {
        uint64_t number;
        int err;
    } cases[] = {{56, ENOSYS},  {57, ENOSYS},      {58, ENOSYS},
                 {59, ENOSYS},  {101, EPERM},      {161, EPERM},
                 {165, EPERM},  {188, EOPNOTSUPP}, {199, EOPNOTSUPP},
                 {239, ENOSYS}, {334, ENOSYS},     {435, ENOSYS}};
    struct program *p = begin();

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        CHECK(CALL(p, cases[i].number, 0) == -cases[i].err);
        CHECK(p->linux_.refused[cases[i].number] == 1);
    }
    end(p);
}

static void calls_have_names(void)
{
    static const struct {
        uint64_t number;
        const char *name;
    } cases[] = {{0, "read"},           {57, "fork"},    {202, "futex"},
                 {334, "rseq"},         {435, "clone3"}, {441, "epoll_pwait2"},
                 {469, "file_setattr"}, {257, "openat"}};

    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++)
        CHECK(strcmp(hl_linux_call_name(cases[i].number), cases[i].name) == 0);
    CHECK(hl_linux_call_name(335) == NULL && hl_linux_call_name(423) == NULL);
    CHECK(hl_linux_call_name(470) == NULL);
    CHECK(hl_linux_call_name(UINT64_MAX) == NULL);
}

/* Numbers that a hostile program would try. */
static uint64_t hostile(uint64_t *random)
{
    static const uint64_t few[] = {
        0,
        1,
        2,
        3,
        5,
        9,
        12,
        0x40,
        0x4000,
        NONBLOCK,
        NONBLOCK | 1,
        NONBLOCK | 5,
        4095,
        4096,
        65536,
        65537,
        INT32_MAX,
        UINT32_MAX,
        0x80000000,
        0xc0000001,
        UINT64_MAX,
        (uint64_t)INT64_MIN,
        CODE,
        DATA,
        ARENA,
        KERNEL,
        EDGE,
        EDGE - 1,
        EDGE - 8,
        EDGE - 12,
        TEXT,
        OTHER,
        UINT64_C(1) << 47,
        UINT64_MAX - PAGE + 1,
    };
    uint64_t r = next_random(random);

    switch (r & 3) {
    case 0:
        return few[(r >> 8) % HL_ARRAY_SIZE(few)];
    case 1:
        return (r >> 8) % 24; /* descriptors */
    case 2:
        return ARENA + (r >> 8) % (ARENA_PAGES * PAGE) / 8 * 8;
    default:
        return few[(r >> 8) % HL_ARRAY_SIZE(few)] + (r >> 40) % 16;
    }
}

static uint64_t any_call(uint64_t *random)
{
    static const uint64_t these[] = {
        0,   0,   1,   1,   2,   3,   7,   13,  14,  16,  19,  20,  22,  22,
        23,  27,  32,  33,  34,  36,  37,  38,  40,  41,  42,  43,  44,  45,
        46,  47,  48,  49,  50,  51,  52,  53,  53,  54,  55,  61,  62,  72,
        73,  86,  92,  93,  94,  105, 112, 113, 117, 121, 124, 127, 128, 130,
        131, 133, 135, 137, 138, 140, 143, 145, 146, 149, 187, 213, 213, 221,
        232, 232, 233, 233, 233, 247, 259, 260, 265, 270, 271, 281, 284, 290,
        288, 291, 293, 293, 309, 325, 326, 332, 436, 441, 15,
    };
    uint64_t r = next_random(random);

    return r % 16 ? these[r / 16 % HL_ARRAY_SIZE(these)] : r / 16 % 600;
}

/* Sets that have something to watch, which chance alone would rarely make. */
static void shape(uint64_t number, uint64_t *args, uint64_t *random)
{
    if (number != EPOLL_CTL || next_random(random) % 4 == 0)
        return;
    args[0] = 3 + next_random(random) % 16;
    args[1] = 1 + next_random(random) % 4 % 3;
    args[2] = next_random(random) % 16;
    args[3] = ARENA + next_random(random) % 64 * 8;
}

static size_t count_watches(const struct program *p)
{
    size_t count = 0;

    for (size_t i = 0; i < HL_LINUX_WATCHES; i++)
        count += p->linux_.process->watches[i].set != 0;
    return count;
}

/* looks: whether it is looked at what the call changed. */
static void call_anything(struct program *p, uint64_t *random, bool looks)
{
    const uint64_t number = any_call(random);
    uint64_t args[6];

    for (size_t j = 0; j < 6; j++)
        args[j] = hostile(random);
    shape(number, args, random);
    for (int j = 0; j < 8; j++) /* for what is read by address */
        memcpy(
            at(p, ARENA + next_random(random) % (ARENA_PAGES * PAGE / 8) * 8),
            &args[j % 6], 8);
    memcpy(at(p, TEXT), "/a", 3);
    memcpy(at(p, OTHER), "b/../c", 7);
    if (looks) {
        memcpy(p->copy, p->memory, PAGES * PAGE);
        memset(p->told, 0, sizeof p->told);
    }
    (void)make_call(p, number, args);
    if (waits(p) && next_random(random) % 4 == 0)
        hl_linux_serve(&p->linux_);
    if (looks) {
        check_told(p);
        check_ends(p);
    }
}

/* No memory but the program's is read or written, W2, and tables stay what
 * they are. */
static void no_call_does_harm(void)
{
    uint64_t random = 11, waited = 0, watched = 0;

    for (int round = 0; round < FEWER_IF_SLOW(25); round++) {
        struct program *p = begin();
        if (round % 2)
            hl_linux_freeze_time(&p->linux_, UINT64_C(1) << 60);
        for (int i = 0; i < 3000; i++) {
            call_anything(p, &random, i % 50 == 0);
            watched += count_watches(p);
            if (waits(p)) {
                waited++;
                give_up(p);
            }
            if (p->linux_.end != HL_LINUX_RUNS || i % 64 == 0) {
                p->linux_.end = HL_LINUX_RUNS;
                p->linux_.process->mask = 0;
                p->regs.gpr[HL_RSP] = EDGE;
            }
            if (i % 500 == 499)
                check_nothing_left(p);
        }
        check_ends(p);
        end(p);
    }
    CHECK(waited > 100 && watched > 1000);
}

int main(void)
{
    RUN(it_is_alone);
    RUN(its_file_system_is_told);
    RUN(what_its_files_cannot_do);
    RUN(files_are_copied);
    RUN(memory_is_there);
    RUN(what_is_refused_is_counted);
    RUN(calls_have_names);
    RUN(no_call_does_harm);
    return 0;
}
