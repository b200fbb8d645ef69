#include "abi/linux/files.h"

#include <stdlib.h>
#include <string.h>

#include "os/wait.h"

#define SETTABLE (HL_O_APPEND | HL_O_NONBLOCK)

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

struct hl_linux_open *hl_linux_opened(const struct hl_linux *l, uint64_t fd)
{
    struct hl_linux_process *p = l->process;

    if ((uint32_t)fd >= HL_LINUX_FILES ||
        p->descriptors[(uint32_t)fd].open == 0)
        return NULL;
    return &p->open[p->descriptors[(uint32_t)fd].open - 1];
}

uint32_t hl_linux_node_of(const struct hl_linux *l, uint64_t fd)
{
    const struct hl_linux_open *o = hl_linux_opened(l, fd);

    return o && o->kind == HL_LINUX_FILE ? o->node : 0;
}

static bool is_folder(const struct hl_linux *l, const struct hl_linux_open *o)
{
    return o->kind == HL_LINUX_FILE &&
           l->files.tree->nodes[o->node].kind == HL_TREE_FOLDER;
}

/* A place in a file, which is its own or the caller's. */
struct place {
    struct hl_linux_open *open;
    uint64_t at;
    bool writes;
};

/* The bytes of standard input are the caller's and stay as they are; how far
 * they were read is the program's state. */
static int64_t read_piece(struct hl_linux *l, const struct place *place,
                          struct piece piece)
{
    size_t size = piece.size;
    const char *from;

    if (place->open->kind == HL_LINUX_FILE) {
        from = hl_tree_read(&l->files, place->open->node, place->at, &size);
    } else {
        uint64_t left =
            place->at < l->input_size ? l->input_size - place->at : 0;
        size = size < left ? size : left;
        from = l->input + place->at;
    }
    if (size == 0)
        return 0;
    int err = hl_linux_put(l, piece.addr, from, size);
    return err < 0 ? err : (int64_t)size;
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

static int64_t write_out(struct hl_linux *l, struct hl_linux_output *out,
                         const void *from, size_t size)
{
    if (size > l->output_limit - l->output[0].size - l->output[1].size) {
        l->too_much = true;
        return -EIO;
    }
    if (reserve(out, size) < 0)
        return -ENOMEM;
    memcpy(out->bytes + out->size, from, size);
    out->size += size;
    return (int64_t)size;
}

static int64_t write_piece(struct hl_linux *l, const struct place *place,
                           struct piece piece)
{
    const struct hl_linux_open *o = place->open;
    char *to;

    if (piece.size == 0)
        return 0;
    const void *from = hl_window_read(&l->window, piece.addr, piece.size);
    if (from == NULL)
        return -EFAULT;
    if (o->kind != HL_LINUX_FILE)
        return write_out(l, &l->output[o->kind == HL_LINUX_STDERR], from,
                         piece.size);
    int err = hl_tree_write(&l->files, o->node, place->at, piece.size,
                            hl_real_time(), &to);
    if (err < 0)
        return err;
    memcpy(to, from, piece.size);
    return (int64_t)piece.size;
}

/* As far as it gets; an error counts only if nothing was done before. */
static int64_t transfer(struct hl_linux *l, struct place *place,
                        const struct piece *pieces, size_t count)
{
    int64_t total = 0;

    for (size_t i = 0; i < count; i++) {
        int64_t done = place->writes ? write_piece(l, place, pieces[i])
                                     : read_piece(l, place, pieces[i]);
        if (done < 0)
            return total ? total : done;
        total += done;
        place->at += (uint64_t)done;
        if ((uint64_t)done < pieces[i].size)
            break;
    }
    return total;
}

static int find_place(const struct hl_linux *l, uint64_t fd, bool writes,
                      struct place *place)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL || (o->flags & HL_O_ACCMODE) == (writes ? 0 : HL_O_WRONLY))
        return -EBADF;
    if (is_folder(l, o))
        return -EISDIR;
    *place = (struct place){o, o->offset, writes};
    if (writes && o->kind == HL_LINUX_FILE && o->flags & HL_O_APPEND)
        place->at = l->files.tree->nodes[o->node].size;
    return 0;
}

/* From where it is, and it is behind it then. */
static int64_t transfer_on(struct hl_linux *l, uint64_t fd,
                           const struct piece *pieces, size_t count,
                           bool writes)
{
    struct place place;

    int err = find_place(l, fd, writes, &place);
    if (err < 0)
        return err;
    int64_t done = transfer(l, &place, pieces, count);
    if (done > 0)
        place.open->offset = place.at;
    return done;
}

static int64_t transfer_at(struct hl_linux *l, const uint64_t *args,
                           bool writes)
{
    struct piece piece = {args[1],
                          args[2] < MOST_BYTES ? args[2] : MOST_BYTES};
    struct place place;

    int err = find_place(l, args[0], writes, &place);
    if (err < 0)
        return err;
    if (place.open->kind != HL_LINUX_FILE)
        return -ESPIPE;
    if (args[3] > INT64_MAX)
        return -EINVAL;
    if (!(writes && place.open->flags & HL_O_APPEND)) /* as Linux does it */
        place.at = args[3];
    return transfer(l, &place, &piece, 1);
}

static int64_t transfer_one(struct hl_linux *l, const uint64_t *args,
                            bool writes)
{
    struct piece piece = {args[1], args[2]};

    if (piece.size > MOST_BYTES)
        piece.size = MOST_BYTES;
    return transfer_on(l, args[0], &piece, 1, writes);
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

    if (hl_linux_opened(l, args[0]) == NULL)
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
    return transfer_on(l, args[0], pieces, args[2], writes);
}

int64_t hl_linux_readv(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, false);
}

int64_t hl_linux_writev(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, true);
}

int64_t hl_linux_pread(struct hl_linux *l, const uint64_t *args)
{
    return transfer_at(l, args, false);
}

int64_t hl_linux_pwrite(struct hl_linux *l, const uint64_t *args)
{
    return transfer_at(l, args, true);
}

int64_t hl_linux_lseek(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o = hl_linux_opened(l, args[0]);
    uint64_t from = 0;

    if (o == NULL)
        return -EBADF;
    if (o->kind != HL_LINUX_FILE)
        return -ESPIPE;
    if (args[2] == 1)
        from = o->offset;
    else if (args[2] == 2)
        from = l->files.tree->nodes[o->node].size;
    else if (args[2] != 0)
        return -EINVAL;
    uint64_t to = from + args[1]; /* backwards, too */
    if (to > INT64_MAX)
        return -EINVAL;
    o->offset = to;
    return (int64_t)to;
}

int64_t hl_linux_ftruncate(struct hl_linux *l, const uint64_t *args)
{
    struct place place;

    int err = find_place(l, args[0], true, &place);
    if (err < 0)
        return err == -EISDIR ? -EINVAL : err;
    if (place.open->kind != HL_LINUX_FILE || args[1] > INT64_MAX)
        return -EINVAL;
    return hl_tree_resize(&l->files, place.open->node, args[1],
                          hl_real_time());
}

/* It is where it will be. */
int64_t hl_linux_fsync(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_open *o = hl_linux_opened(l, args[0]);

    return o == NULL ? -EBADF : o->kind == HL_LINUX_FILE ? 0 : -EINVAL;
}

static void close_one(struct hl_linux *l, uint32_t fd)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);

    l->process->descriptors[fd] = (struct hl_linux_descriptor){0};
    if (--o->refs > 0)
        return;
    if (o->kind == HL_LINUX_FILE)
        hl_tree_close(&l->files, o->node);
    *o = (struct hl_linux_open){0};
}

int64_t hl_linux_close(struct hl_linux *l, const uint64_t *args)
{
    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    close_one(l, (uint32_t)args[0]);
    return 0;
}

/* The lowest descriptor from there on that is closed, for one more use. */
static int64_t give_descriptor(struct hl_linux *l, struct hl_linux_open *o,
                               uint64_t from, bool close_on_exec)
{
    struct hl_linux_process *p = l->process;

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

static int64_t copy_from(struct hl_linux *l, uint64_t fd, uint64_t from,
                         bool close_on_exec)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL)
        return -EBADF;
    if (from >= HL_LINUX_FILES)
        return -EINVAL;
    return give_descriptor(l, o, from, close_on_exec);
}

/* There is a description for each descriptor. */
int64_t hl_linux_open_node(struct hl_linux *l, uint32_t node, uint64_t flags)
{
    struct hl_linux_open *o = l->process->open;

    while (o < &l->process->open[HL_LINUX_FILES] && o->refs > 0)
        o++;
    if (o == &l->process->open[HL_LINUX_FILES])
        return -EMFILE;
    int64_t fd = give_descriptor(l, o, 0, flags & HL_O_CLOEXEC);
    if (fd < 0)
        return fd;
    o->kind = HL_LINUX_FILE;
    o->node = node;
    o->flags = (uint32_t)flags & (HL_O_ACCMODE | SETTABLE);
    o->offset = 0;
    hl_tree_open(&l->files, node);
    return fd;
}

static int64_t copy_to(struct hl_linux *l, uint64_t fd, uint64_t to,
                       bool close_on_exec)
{
    if (hl_linux_opened(l, fd) == NULL || (uint32_t)to >= HL_LINUX_FILES)
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
    default:
        return -EINVAL;
    }
}

/* None of these is a terminal. */
int64_t hl_linux_ioctl(struct hl_linux *l, const uint64_t *args)
{
    return hl_linux_opened(l, args[0]) ? -ENOTTY : -EBADF;
}
