#include "abi/linux/descriptors.h"

#include "abi/linux/kinds.h"
#include "abi/linux/watches.h"

#define SETTABLE (HL_O_APPEND | HL_O_NONBLOCK)
#define KEPT (HL_O_ACCMODE | SETTABLE | HL_O_DIRECT)

#define F_DUPFD_ 0
#define F_GETFD_ 1
#define F_SETFD_ 2
#define F_GETFL_ 3
#define F_SETFL_ 4
#define F_GETLK_ 5
#define F_SETLK_ 6
#define F_SETLKW_ 7
#define F_DUPFD_CLOEXEC_ 1030
#define F_UNLCK_ 2

#define FIONBIO_ 0x5421
#define FIOCLEX_ 0x5451
#define FIONCLEX_ 0x5450

#define CLOSE_RANGE_CLOEXEC_ 4

static void close_one(struct hl_linux *l, uint32_t fd)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);
    const struct hl_linux_kind_ops *kind = hl_linux_kind(o);

    l->process->descriptors[fd] = (struct hl_linux_descriptor){0};
    if (--o->refs > 0)
        return;
    hl_linux_forget_watches(l, o);
    if (kind->closed)
        kind->closed(l, o);
    *o = (struct hl_linux_open){0};
}

int64_t hl_linux_close(struct hl_linux *l, const uint64_t *args)
{
    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    close_one(l, (uint32_t)args[0]);
    return 0;
}

void hl_linux_unopen(struct hl_linux *l, int64_t fd)
{
    close_one(l, (uint32_t)fd);
}

int64_t hl_linux_close_range(struct hl_linux *l, const uint64_t *args)
{
    if ((uint32_t)args[0] > (uint32_t)args[1] ||
        args[2] & ~(uint64_t)CLOSE_RANGE_CLOEXEC_)
        return -EINVAL;
    for (uint32_t fd = (uint32_t)args[0];
         fd < HL_LINUX_FILES && fd <= (uint32_t)args[1]; fd++) {
        if (hl_linux_opened(l, fd) == NULL)
            continue;
        if (args[2])
            l->process->descriptors[fd].close_on_exec = 1;
        else
            close_one(l, fd);
    }
    return 0;
}

/* The lowest descriptor from there on that is closed, for one more use. */
static int64_t give_descriptor(struct hl_linux *l, struct hl_linux_open *o,
                               uint64_t from, bool close_on_exec)
{
    struct hl_linux_process *p = l->process;

    for (uint64_t to = from; to < p->most_files; to++) {
        if (p->descriptors[to].open)
            continue;
        p->descriptors[to] = (struct hl_linux_descriptor){
            .open = (uint16_t)(1 + (o - p->open)),
            .close_on_exec = close_on_exec,
        };
        o->refs++;
        return (int64_t)to;
    }
    return -EMFILE;
}

static int64_t copy_from(struct hl_linux *l, uint64_t fd, uint64_t from,
                         bool close_on_exec)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL)
        return -EBADF;
    if (from >= l->process->most_files)
        return -EINVAL;
    return give_descriptor(l, o, from, close_on_exec);
}

/* There is a description for each descriptor. */
int64_t hl_linux_open(struct hl_linux *l, enum hl_linux_kind kind,
                      uint64_t flags, struct hl_linux_open **out)
{
    struct hl_linux_open *o = l->process->open;

    while (o < &l->process->open[HL_LINUX_FILES] && o->refs > 0)
        o++;
    if (o == &l->process->open[HL_LINUX_FILES])
        return -EMFILE;
    int64_t fd = give_descriptor(l, o, 0, flags & HL_O_CLOEXEC);
    if (fd < 0)
        return fd;
    o->kind = kind;
    o->flags = (uint32_t)flags & KEPT;
    *out = o;
    return fd;
}

int64_t hl_linux_open_node(struct hl_linux *l, uint32_t node, uint64_t flags)
{
    struct hl_linux_open *o;
    int64_t fd = hl_linux_open(l, HL_LINUX_FILE, flags, &o);

    if (fd < 0)
        return fd;
    o->node = node;
    hl_tree_open(&l->files, node);
    return fd;
}

static int64_t copy_to(struct hl_linux *l, uint64_t fd, uint64_t to,
                       bool close_on_exec)
{
    if (hl_linux_opened(l, fd) == NULL ||
        (uint32_t)to >= l->process->most_files)
        return -EBADF;
    if ((uint32_t)fd == (uint32_t)to)
        return (int64_t)(uint32_t)to;
    if (hl_linux_opened(l, to))
        close_one(l, (uint32_t)to);
    return copy_from(l, fd, (uint32_t)to, close_on_exec);
}

int64_t hl_linux_dup(struct hl_linux *l, const uint64_t *args)
{
    return copy_from(l, args[0], 0, false);
}

int64_t hl_linux_dup2(struct hl_linux *l, const uint64_t *args)
{
    return copy_to(l, args[0], args[1], false);
}

int64_t hl_linux_dup3(struct hl_linux *l, const uint64_t *args)
{
    if (args[2] & ~(uint64_t)HL_O_CLOEXEC ||
        (uint32_t)args[0] == (uint32_t)args[1])
        return -EINVAL;
    return copy_to(l, args[0], args[1], args[2] != 0);
}

/* Nobody else has a lock: there is one process, whose own do not conflict. */
static int64_t lock(struct hl_linux *l, const struct hl_linux_open *o,
                    const uint64_t *args)
{
    struct {
        int16_t type, whence;
        int64_t start, size;
        int32_t pid;
    } lock;

    if (o->kind != HL_LINUX_FILE)
        return -EBADF;
    int err = hl_linux_get(l, args[2], &lock, sizeof lock);
    if (err < 0)
        return err;
    if (lock.type < 0 || lock.type > F_UNLCK_)
        return -EINVAL;
    if (args[1] != F_GETLK_)
        return 0;
    lock.type = F_UNLCK_;
    return hl_linux_put(l, args[2], &lock, sizeof lock);
}

int64_t hl_linux_fcntl(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o = hl_linux_opened(l, args[0]);

    if (o == NULL)
        return -EBADF;
    struct hl_linux_descriptor *d =
        &l->process->descriptors[(uint32_t)args[0]];
    switch (args[1]) {
    case F_DUPFD_:
    case F_DUPFD_CLOEXEC_:
        return copy_from(l, args[0], args[2], args[1] != F_DUPFD_);
    case F_GETFD_:
        return d->close_on_exec;
    case F_SETFD_:
        d->close_on_exec = args[2] & 1;
        return 0;
    case F_GETFL_:
        return o->flags;
    case F_SETFL_:
        o->flags =
            (o->flags & ~(uint32_t)SETTABLE) | ((uint32_t)args[2] & SETTABLE);
        return 0;
    case F_GETLK_:
    case F_SETLK_:
    case F_SETLKW_:
        return lock(l, o, args);
    default:
        return -EINVAL;
    }
}

/* None of these is a terminal. */
int64_t hl_linux_ioctl(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o = hl_linux_opened(l, args[0]);
    int32_t on;

    if (o == NULL)
        return -EBADF;
    switch ((uint32_t)args[1]) {
    case FIOCLEX_:
    case FIONCLEX_:
        l->process->descriptors[(uint32_t)args[0]].close_on_exec =
            (uint32_t)args[1] == FIOCLEX_;
        return 0;
    case FIONBIO_:
        if (hl_linux_get(l, args[2], &on, sizeof on) < 0)
            return -EFAULT;
        o->flags = on ? o->flags | HL_O_NONBLOCK
                      : o->flags & ~(uint32_t)HL_O_NONBLOCK;
        return 0;
    default:
        return -ENOTTY;
    }
}
