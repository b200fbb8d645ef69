#include "abi/linux/files.h"

#include <stdlib.h>
#include <string.h>

#define O_ACCMODE_ 3
#define O_WRONLY_ 1
#define O_APPEND_ 02000
#define O_NONBLOCK_ 04000
#define O_CLOEXEC_ 02000000
#define SETTABLE (O_APPEND_ | O_NONBLOCK_)

#define S_IFIFO_ 0010000

#define AT_EMPTY_PATH_ 0x1000
#define AT_FLAGS 0x7900 /* those of newfstatat */

#define MOST_PATH 4096
#define MOST_PIECES 1024 /* IOV_MAX */
#define MOST_BYTES ((uint64_t)0x7ffff000)

#define F_DUPFD_ 0
#define F_GETFD_ 1
#define F_SETFD_ 2
#define F_GETFL_ 3
#define F_SETFL_ 4
#define F_DUPFD_CLOEXEC_ 1030

struct piece { /* struct iovec */
    uint64_t addr, size;
};

struct linux_stat {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad;
    uint64_t rdev;
    int64_t size, block_size, blocks;
    uint64_t times[6];
    int64_t unused[3];
};
_Static_assert(sizeof(struct linux_stat) == 144, "asm/stat.h");

/* What a descriptor is open to, or NULL. */
static struct hl_linux_open *find(const struct hl_linux *l, uint64_t fd)
{
    struct hl_linux_process *p = l->process;

    if ((uint32_t)fd >= HL_LINUX_FILES ||
        p->descriptors[(uint32_t)fd].open == 0)
        return NULL;
    return &p->open[p->descriptors[(uint32_t)fd].open - 1];
}

static bool is_for_writing(const struct hl_linux_open *o)
{
    return o->kind == HL_LINUX_STDOUT || o->kind == HL_LINUX_STDERR;
}

/* The bytes of standard input are the caller's and stay as they are; how far
 * they were read is the program's state. */
static int64_t read_piece(struct hl_linux *l, struct hl_linux_open *o,
                          struct piece piece)
{
    uint64_t left = o->offset < l->input_size ? l->input_size - o->offset : 0;
    uint64_t size = piece.size < left ? piece.size : left;

    if (size == 0)
        return 0;
    int err = hl_linux_put(l, piece.addr, l->input + o->offset, size);
    if (err < 0)
        return err;
    o->offset += size;
    return (int64_t)size;
}

static int reserve(struct hl_linux_output *out, size_t more)
{
    size_t capacity = out->capacity ? out->capacity : 4096;

    while (capacity - out->size < more)
        capacity *= 2;
    if (capacity == out->capacity)
        return 0;
    char *bytes = realloc(out->bytes, capacity);
    if (bytes == NULL)
        return -ENOMEM;
    out->bytes = bytes;
    out->capacity = capacity;
    return 0;
}

static int64_t write_piece(struct hl_linux *l, struct hl_linux_open *o,
                           struct piece piece)
{
    struct hl_linux_output *out = &l->output[o->kind == HL_LINUX_STDERR];
    size_t had = l->output[0].size + l->output[1].size;

    if (piece.size == 0)
        return 0;
    const void *from = hl_window_read(&l->window, piece.addr, piece.size);
    if (from == NULL)
        return -EFAULT;
    if (piece.size > l->output_limit - had) {
        l->too_much = true;
        return -EIO;
    }
    if (reserve(out, piece.size) < 0)
        return -ENOMEM;
    memcpy(out->bytes + out->size, from, piece.size);
    out->size += piece.size;
    return (int64_t)piece.size;
}

/* As far as it gets; an error counts only if nothing was done before. */
static int64_t transfer(struct hl_linux *l, uint64_t fd,
                        const struct piece *pieces, size_t count, bool writes)
{
    struct hl_linux_open *o = find(l, fd);
    int64_t total = 0;

    if (o == NULL || is_for_writing(o) != writes)
        return -EBADF;
    for (size_t i = 0; i < count; i++) {
        int64_t done = writes ? write_piece(l, o, pieces[i])
                              : read_piece(l, o, pieces[i]);
        if (done < 0)
            return total ? total : done;
        total += done;
        if ((uint64_t)done < pieces[i].size)
            break;
    }
    return total;
}

static int64_t transfer_one(struct hl_linux *l, const uint64_t *args,
                            bool writes)
{
    struct piece piece = {args[1], args[2]};

    if (piece.size > MOST_BYTES)
        piece.size = MOST_BYTES;
    return transfer(l, args[0], &piece, 1, writes);
}

int64_t hl_linux_read(struct hl_linux *l, const uint64_t *args)
{
    return transfer_one(l, args, false);
}

int64_t hl_linux_write(struct hl_linux *l, const uint64_t *args)
{
    return transfer_one(l, args, true);
}

static int64_t transfer_all(struct hl_linux *l, const uint64_t *args,
                            bool writes)
{
    struct piece pieces[MOST_PIECES];
    uint64_t total = 0;

    if (find(l, args[0]) == NULL)
        return -EBADF;
    if (args[2] > MOST_PIECES)
        return -EINVAL;
    if (args[2] == 0)
        return 0;
    int err = hl_linux_get(l, args[1], pieces, args[2] * sizeof *pieces);
    if (err < 0)
        return err;
    for (size_t i = 0; i < args[2]; i++) {
        if (pieces[i].size > MOST_BYTES - total)
            return -EINVAL;
        total += pieces[i].size;
    }
    return transfer(l, args[0], pieces, args[2], writes);
}

int64_t hl_linux_readv(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, false);
}

int64_t hl_linux_writev(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, true);
}

/* None of these has places. */
int64_t hl_linux_pread(struct hl_linux *l, const uint64_t *args)
{
    return find(l, args[0]) ? -ESPIPE : -EBADF;
}

int64_t hl_linux_pwrite(struct hl_linux *l, const uint64_t *args)
{
    return hl_linux_pread(l, args);
}

int64_t hl_linux_lseek(struct hl_linux *l, const uint64_t *args)
{
    return hl_linux_pread(l, args);
}

static void close_one(struct hl_linux *l, uint32_t fd)
{
    struct hl_linux_open *o = find(l, fd);

    l->process->descriptors[fd] = (struct hl_linux_descriptor){0};
    if (--o->refs == 0)
        *o = (struct hl_linux_open){0};
}

int64_t hl_linux_close(struct hl_linux *l, const uint64_t *args)
{
    if (find(l, args[0]) == NULL)
        return -EBADF;
    close_one(l, (uint32_t)args[0]);
    return 0;
}

/* The lowest descriptor from there on that is closed. */
static int64_t copy_from(struct hl_linux *l, uint64_t fd, uint64_t from,
                         bool close_on_exec)
{
    struct hl_linux_process *p = l->process;
    struct hl_linux_open *o = find(l, fd);

    if (o == NULL)
        return -EBADF;
    if (from >= HL_LINUX_FILES)
        return -EINVAL;
    for (uint64_t to = from; to < HL_LINUX_FILES; to++) {
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

static int64_t copy_to(struct hl_linux *l, uint64_t fd, uint64_t to,
                       bool close_on_exec)
{
    if (find(l, fd) == NULL || (uint32_t)to >= HL_LINUX_FILES)
        return -EBADF;
    if ((uint32_t)fd == (uint32_t)to)
        return (int64_t)(uint32_t)to;
    if (find(l, to))
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
    if (args[2] & ~(uint64_t)O_CLOEXEC_ ||
        (uint32_t)args[0] == (uint32_t)args[1])
        return -EINVAL;
    return copy_to(l, args[0], args[1], args[2] != 0);
}

int64_t hl_linux_fcntl(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o = find(l, args[0]);

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
    default:
        return -EINVAL;
    }
}

/* None of these is a terminal. */
int64_t hl_linux_ioctl(struct hl_linux *l, const uint64_t *args)
{
    return find(l, args[0]) ? -ENOTTY : -EBADF;
}

int64_t hl_linux_fstat(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_open *o = find(l, args[0]);

    if (o == NULL)
        return -EBADF;
    const struct linux_stat stat = {
        .ino = o->kind,
        .nlink = 1,
        .mode = S_IFIFO_ | 0600,
        .block_size = 4096,
    };
    return hl_linux_put(l, args[1], &stat, sizeof stat);
}

/* Byte by byte, since it may end right before what cannot be read.  Returns
 * its length: -EFAULT, -ENAMETOOLONG. */
static int64_t path_length(const struct hl_linux *l, uint64_t addr)
{
    for (int64_t n = 0; n < MOST_PATH; n++) {
        const char *at = hl_window_read(&l->window, addr + (uint64_t)n, 1);
        if (at == NULL)
            return -EFAULT;
        if (*at == '\0')
            return n;
    }
    return -ENAMETOOLONG;
}

static int64_t no_such_file(const struct hl_linux *l, uint64_t path)
{
    int64_t length = path_length(l, path);

    return length < 0 ? length : -ENOENT;
}

int64_t hl_linux_by_name(struct hl_linux *l, const uint64_t *args)
{
    return no_such_file(l, args[0]);
}

int64_t hl_linux_by_name_at(struct hl_linux *l, const uint64_t *args)
{
    return no_such_file(l, args[1]);
}

int64_t hl_linux_newfstatat(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t of_descriptor[] = {args[0], args[2]};

    if (args[3] & ~(uint64_t)AT_FLAGS)
        return -EINVAL;
    int64_t length = path_length(l, args[1]);
    if (length < 0)
        return length;
    if (length == 0 && args[3] & AT_EMPTY_PATH_)
        return hl_linux_fstat(l, of_descriptor);
    return -ENOENT;
}

int64_t hl_linux_getcwd(struct hl_linux *l, const uint64_t *args)
{
    static const char root[] = "/";

    if (args[1] < sizeof root)
        return args[1] ? -ERANGE : -EINVAL;
    int err = hl_linux_put(l, args[0], root, sizeof root);
    return err < 0 ? err : (int64_t)sizeof root;
}

int64_t hl_linux_umask(struct hl_linux *l, const uint64_t *args)
{
    uint32_t had = l->process->file_mode_mask;

    l->process->file_mode_mask = (uint32_t)args[0] & 0777;
    return had;
}
