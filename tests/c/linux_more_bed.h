/* Calls on what is within a program: pipes, sockets, waiting. */
#ifndef HL_TESTS_LINUX_MORE_BED_H
#define HL_TESTS_LINUX_MORE_BED_H

#include "abi/linux/clock.h"
#include "linux_files_bed.h"

enum {
    POLL = 7,
    SIGACTION = 13,
    SIGPROCMASK = 14,
    SIGRETURN = 15,
    READV = 19,
    WRITEV = 20,
    PIPE = 22,
    SELECT = 23,
    MINCORE = 27,
    PAUSE = 34,
    NANOSLEEP = 35,
    GETITIMER = 36,
    ALARM = 37,
    SETITIMER = 38,
    SENDFILE = 40,
    SOCKET = 41,
    CONNECT = 42,
    ACCEPT = 43,
    SENDTO = 44,
    RECVFROM = 45,
    SENDMSG = 46,
    RECVMSG = 47,
    SHUTDOWN = 48,
    BIND = 49,
    GETSOCKNAME = 51,
    SOCKETPAIR = 53,
    SETSOCKOPT = 54,
    GETSOCKOPT = 55,
    FORK = 57,
    WAIT4 = 61,
    KILL = 62,
    FCNTL = 72,
    FLOCK = 73,
    LINK = 86,
    CHOWN = 92,
    FCHOWN = 93,
    SETUID = 105,
    SETSID = 112,
    GETSID = 124,
    SIGTIMEDWAIT = 128,
    SIGSUSPEND = 130,
    MKNOD = 133,
    PERSONALITY = 135,
    STATFS = 137,
    FSTATFS = 138,
    GETPRIORITY = 140,
    SCHED_GETPARAM = 143,
    SCHED_GETSCHEDULER = 145,
    PRIORITY_MAX = 146,
    PRIORITY_MIN = 147,
    READAHEAD = 187,
    EPOLL_CREATE = 213,
    FADVISE = 221,
    EPOLL_WAIT = 232,
    EPOLL_CTL = 233,
    PSELECT = 270,
    PPOLL = 271,
    EPOLL_PWAIT = 281,
    EVENTFD2 = 290,
    EPOLL_CREATE1 = 291,
    PIPE2 = 293,
    GETCPU = 309,
    COPY_FILE_RANGE = 326,
    STATX = 332,
    EPOLL_PWAIT2 = 441,
};

#define EDGE (DATA + DATA_PAGES * PAGE) /* behind it is nothing */
#define TALKED (DATA + 3 * PAGE)        /* where this bed puts things */
#define IN 1u
#define OUT 4u
#define ERR 8u
#define HUP 0x10u
#define RDHUP 0x2000u
#define NONBLOCK HL_O_NONBLOCK
#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

static inline uint32_t word32(const struct program *p, uint64_t addr)
{
    uint32_t value;

    memcpy(&value, at(p, addr), sizeof value);
    return value;
}

static inline uint64_t word(const struct program *p, uint64_t addr)
{
    uint64_t value;

    memcpy(&value, at(p, addr), sizeof value);
    return value;
}

static inline void put(const struct program *p, uint64_t addr,
                       const void *bytes, size_t size)
{
    memcpy(at(p, addr), bytes, size);
}

static inline void put_words(const struct program *p, uint64_t addr,
                             uint64_t a, uint64_t b)
{
    const uint64_t both[] = {a, b};

    put(p, addr, both, sizeof both);
}

static inline bool waits(const struct program *p)
{
    return p->linux_.process->waits;
}

/* It is served again, as linux.c does it. */
static inline int64_t again(struct program *p, uint64_t number)
{
    memcpy(p->copy, p->memory, PAGES * PAGE);
    p->regs.gpr[HL_RAX] = number;
    hl_linux_serve(&p->linux_);
    check_told(p);
    return (int64_t)p->regs.gpr[HL_RAX];
}

static inline int64_t until_over(struct program *p, uint64_t number)
{
    int64_t result = 0;

    while (waits(p))
        result = again(p, number);
    return result;
}

/* The request that a bed's listens and waits about, and no answer yet: a call
 * that waits leaves RAX as it is. */
static inline bool must_wait(struct program *p, uint64_t number,
                             const uint64_t args[6])
{
    return checked_call(p, number, args) == (int64_t)number && waits(p);
}
#define WAITS(p, number, ...)                                                 \
    must_wait(p, number, (const uint64_t[6]){__VA_ARGS__})

/* It was waiting, and is not to: as after a restore. */
static inline void give_up(struct program *p)
{
    struct hl_linux_process *k = p->linux_.process;

    k->waits = false;
    k->waits_for = k->wake_at = k->waits_from = 0;
    k->keeps_mask = 0;
    k->kept_mask = 0;
    p->linux_.listens = false;
    memcpy(p->copy, p->memory, PAGES * PAGE);
}

/* The two ends of something new. */
struct ends {
    uint64_t in, out;
};

static inline struct ends new_pipe(struct program *p, uint64_t flags)
{
    CHECK(CALL(p, PIPE2, TALKED, flags) == 0);
    return (struct ends){word32(p, TALKED), word32(p, TALKED + 4)};
}

static inline struct ends new_pair(struct program *p, uint64_t type)
{
    CHECK(CALL(p, SOCKETPAIR, 1, type, 0, TALKED) == 0);
    return (struct ends){word32(p, TALKED), word32(p, TALKED + 4)};
}

static inline int64_t send_text(struct program *p, uint64_t fd,
                                const char *what)
{
    strcpy(at(p, TALKED), what);
    return CALL(p, WRITE, fd, TALKED, strlen(what));
}

static inline bool reads(struct program *p, uint64_t fd, const char *what)
{
    int64_t size = CALL(p, READ, fd, TALKED, PAGE);

    return size == (int64_t)strlen(what) &&
           memcmp(at(p, TALKED), what, (size_t)size) == 0;
}

/* What poll says of one descriptor at once. */
static inline unsigned polled(struct program *p, uint64_t fd, unsigned events)
{
    const uint32_t one[] = {(uint32_t)fd, events};

    put(p, TALKED, one, sizeof one);
    int64_t found = CALL(p, POLL, TALKED, 1, 0);
    unsigned happened = word32(p, TALKED + 4) >> 16;
    CHECK(found == (happened != 0));
    return happened;
}

static inline int64_t control(struct program *p, uint64_t set, uint64_t what,
                              uint64_t fd, uint32_t events, uint64_t data)
{
    const uint32_t event[] = {events, (uint32_t)data, (uint32_t)(data >> 32)};

    put(p, TALKED, event, sizeof event);
    return CALL(p, EPOLL_CTL, set, what, fd, TALKED);
}

/* The first that it reports at once, or 0; its data in *data. */
static inline uint32_t reported(struct program *p, uint64_t set,
                                uint64_t *data)
{
    int64_t found = CALL(p, EPOLL_WAIT, set, TALKED, 1, 0);

    CHECK(found == 0 || found == 1);
    memcpy(data, at(p, TALKED + 4), sizeof *data);
    return found ? word32(p, TALKED) : 0;
}

#define HANDLER (CODE + 0x100)
#define RESTORER (CODE + 0x200)

static inline void handle(struct program *p, uint64_t signal, uint64_t flags)
{
    const uint64_t action[] = {HANDLER, flags | 0x04000000, RESTORER, 0};

    put(p, TALKED, action, sizeof action);
    CHECK(CALL(p, SIGACTION, signal, TALKED, 0, 8) == 0);
}

/* It is in the handler; from there it returns. */
static inline int64_t handled(struct program *p, uint64_t signal)
{
    CHECK(p->regs.rip == HANDLER && p->regs.gpr[HL_RDI] == signal);
    p->regs.gpr[HL_RSP] += 8;
    p->regs.gpr[HL_RAX] = SIGRETURN;
    hl_linux_serve(&p->linux_);
    return (int64_t)p->regs.gpr[HL_RAX];
}

/* Q1 and E1: what is open has its queues, and nothing else has. */
static inline void check_ends(const struct program *p)
{
    const struct hl_linux_process *k = p->linux_.process;
    unsigned uses[HL_LINUX_FILES + 1] = {0};

    for (size_t i = 0; i < HL_LINUX_FILES; i++) {
        const struct hl_linux_open *o = &k->open[i];
        if (o->kind == HL_LINUX_PIPE_IN || o->kind == HL_LINUX_PIPE_OUT ||
            o->kind == HL_LINUX_SOCKET) {
            CHECK(o->node > 0 && o->node <= HL_LINUX_FILES);
            uses[o->node]++;
        }
        if (o->kind == HL_LINUX_SOCKET) {
            CHECK(o->offset > 0 && o->offset <= HL_LINUX_FILES);
            uses[o->offset]++;
        }
    }
    for (size_t i = 0; i < HL_LINUX_FILES; i++) {
        const struct hl_linux_queue *q = &k->queues[i];
        CHECK(q->uses == uses[i + 1] && (q->node != 0) == (q->uses != 0));
        const struct hl_tree_node *n = &p->linux_.files.tree->nodes[q->node];
        CHECK(q->node == 0 ||
              (q->start <= n->size && n->size <= 65536 && n->opens == 1));
    }
    for (size_t i = 0; i < HL_LINUX_WATCHES; i++) {
        const struct hl_linux_watch *w = &k->watches[i];
        CHECK(w->set == 0 || (k->open[w->set - 1].kind == HL_LINUX_EPOLL &&
                              k->open[w->open - 1].refs > 0));
    }
    check_tree(p);
}

/* Nothing is left of what was closed. */
static inline void check_nothing_left(struct program *p)
{
    const struct hl_linux_process *k = p->linux_.process;

    for (uint64_t fd = 0; fd < HL_LINUX_FILES; fd++)
        (void)make_call(p, CLOSE, (const uint64_t[6]){fd});
    for (size_t i = 0; i < HL_LINUX_FILES; i++)
        CHECK(k->open[i].refs == 0 && k->queues[i].node == 0);
    for (size_t i = 0; i < HL_LINUX_WATCHES; i++)
        CHECK(k->watches[i].set == 0);
}

#endif
