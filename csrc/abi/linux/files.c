#include "abi/linux/files.h"

#include "abi/linux/kinds.h"
#include "os/wait.h"

#define MOST_BYTES ((uint64_t)0x7ffff000)

/* A place in what is open, which is its own or the caller's. */
struct place {
    struct hl_linux_open *open;
    uint64_t at;
    bool writes;
};

static int64_t transfer_piece(struct hl_linux *l, const struct place *place,
                              struct hl_linux_piece piece)
{
    const struct hl_linux_kind_ops *kind = hl_linux_kind(place->open);

    return (place->writes ? kind->write : kind->read)(
        l, place->open, place->at, piece.addr, piece.size);
}

static bool are_empty(const struct hl_linux_piece *pieces, size_t count)
{
    while (count > 0 && pieces[count - 1].size == 0)
        count--;
    return count == 0;
}

/* As far as it gets; an error counts only if nothing was done before.  Of
 * what has no places one piece is read: it gives what is there, and might
 * wait for more. */
static int64_t transfer(struct hl_linux *l, struct place *place,
                        const struct hl_linux_piece *pieces, size_t count)
{
    const bool once =
        !place->writes && !hl_linux_kind(place->open)->has_places;
    int64_t total = 0;

    if (hl_linux_kind(place->open)->transfer)
        return are_empty(pieces, count)
                   ? 0
                   : hl_linux_kind(place->open)
                         ->transfer(l, place->open, pieces, count,
                                    place->writes);
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size == 0)
            continue;
        int64_t done = transfer_piece(l, place, pieces[i]);
        if (done < 0)
            return total ? total : done;
        total += done;
        place->at += (uint64_t)done;
        if (once || (uint64_t)done < pieces[i].size)
            break;
    }
    return total;
}

static bool is_folder(const struct hl_linux *l, const struct hl_linux_open *o)
{
    return o->kind == HL_LINUX_FILE &&
           l->files.tree->nodes[o->node].kind == HL_TREE_FOLDER;
}

static int find_place(const struct hl_linux *l, uint64_t fd, bool writes,
                      struct place *place)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL || (o->flags & HL_O_ACCMODE) == (writes ? 0 : HL_O_WRONLY))
        return -EBADF;
    if (is_folder(l, o))
        return -EISDIR;
    const struct hl_linux_kind_ops *kind = hl_linux_kind(o);
    if (!kind->transfer && (writes ? kind->write : kind->read) == NULL)
        return -EINVAL;
    *place = (struct place){o, o->offset, writes};
    if (writes && o->kind == HL_LINUX_FILE && o->flags & HL_O_APPEND)
        place->at = l->files.tree->nodes[o->node].size;
    return 0;
}

/* From where it is, and it is behind it then. */
static int64_t transfer_on(struct hl_linux *l, uint64_t fd,
                           const struct hl_linux_piece *pieces, size_t count,
                           bool writes)
{
    struct place place;

    int err = find_place(l, fd, writes, &place);
    if (err < 0)
        return err;
    int64_t done = transfer(l, &place, pieces, count);
    if (done > 0 && hl_linux_kind(place.open)->has_places)
        place.open->offset = place.at;
    return done;
}

static int64_t transfer_at(struct hl_linux *l, uint64_t fd,
                           const struct hl_linux_piece *pieces, size_t count,
                           uint64_t at, bool writes)
{
    struct place place;

    int err = find_place(l, fd, writes, &place);
    if (err < 0)
        return err;
    if (!hl_linux_kind(place.open)->has_places)
        return -ESPIPE;
    if (at > INT64_MAX)
        return -EINVAL;
    if (!(writes && place.open->flags & HL_O_APPEND)) /* as Linux does it */
        place.at = at;
    return transfer(l, &place, pieces, count);
}

static struct hl_linux_piece one_piece(const uint64_t *args)
{
    return (struct hl_linux_piece){args[1], args[2] < MOST_BYTES ? args[2]
                                                                 : MOST_BYTES};
}

int64_t hl_linux_read(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_piece piece = one_piece(args);

    return transfer_on(l, args[0], &piece, 1, false);
}

int64_t hl_linux_write(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_piece piece = one_piece(args);

    return transfer_on(l, args[0], &piece, 1, true);
}

int64_t hl_linux_pread(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_piece piece = one_piece(args);

    return transfer_at(l, args[0], &piece, 1, args[3], false);
}

int64_t hl_linux_pwrite(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_piece piece = one_piece(args);

    return transfer_at(l, args[0], &piece, 1, args[3], true);
}

int64_t hl_linux_get_pieces(const struct hl_linux *l, uint64_t addr,
                            uint64_t count, struct hl_linux_piece *pieces)
{
    uint64_t total = 0;

    if (count > HL_LINUX_PIECES)
        return -EINVAL;
    if (count == 0)
        return 0;
    int err = hl_linux_get(l, addr, pieces, count * sizeof *pieces);
    if (err < 0)
        return err;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size > MOST_BYTES - total)
            return -EINVAL;
        total += pieces[i].size;
    }
    return (int64_t)count;
}

static int64_t transfer_all(struct hl_linux *l, const uint64_t *args,
                            bool has_place, bool writes)
{
    struct hl_linux_piece pieces[HL_LINUX_PIECES];

    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    int64_t count = hl_linux_get_pieces(l, args[1], args[2], pieces);
    if (count <= 0)
        return count;
    if (has_place)
        return transfer_at(l, args[0], pieces, (size_t)count, args[3], writes);
    return transfer_on(l, args[0], pieces, (size_t)count, writes);
}

int64_t hl_linux_readv(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, false, false);
}

int64_t hl_linux_writev(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, false, true);
}

int64_t hl_linux_preadv(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, true, false);
}

int64_t hl_linux_pwritev(struct hl_linux *l, const uint64_t *args)
{
    return transfer_all(l, args, true, true);
}

int64_t hl_linux_lseek(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o = hl_linux_opened(l, args[0]);
    uint64_t from = 0;

    if (o == NULL)
        return -EBADF;
    if (!hl_linux_kind(o)->has_places)
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
                          hl_linux_now(l));
}

/* Room is had when it is written to: only the size can be seen. */
int64_t hl_linux_fallocate(struct hl_linux *l, const uint64_t *args)
{
    struct place place;

    int err = find_place(l, args[0], true, &place);
    if (err < 0)
        return err == -EISDIR ? -ENODEV : err;
    if (place.open->kind != HL_LINUX_FILE)
        return -ENODEV;
    if (args[1])
        return -EOPNOTSUPP;
    if (args[2] > INT64_MAX || args[3] == 0 || args[3] > INT64_MAX - args[2])
        return -EINVAL;
    uint64_t end = args[2] + args[3];
    if (end <= l->files.tree->nodes[place.open->node].size)
        return 0;
    return hl_tree_resize(&l->files, place.open->node, end, hl_linux_now(l));
}

/* It is where it will be. */
int64_t hl_linux_fsync(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_open *o = hl_linux_opened(l, args[0]);

    return o == NULL ? -EBADF : o->kind == HL_LINUX_FILE ? 0 : -EINVAL;
}
