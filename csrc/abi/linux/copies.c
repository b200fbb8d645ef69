#include "abi/linux/copies.h"

#include <string.h>

#define MOST ((uint64_t)1 << 20) /* in one call: a host's thread is busy */

/* One side: a file, and where. */
struct side {
    struct hl_linux_open *open;
    uint64_t at, addr; /* addr: where the program has the place; 0: its own */
};

static int find_side(const struct hl_linux *l, uint64_t fd, uint64_t addr,
                     unsigned refused, struct side *side)
{
    struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL || (o->flags & HL_O_ACCMODE) == refused)
        return -EBADF;
    if (o->kind != HL_LINUX_FILE)
        return -EINVAL;
    if (l->files.tree->nodes[o->node].kind == HL_TREE_FOLDER)
        return -EISDIR;
    *side = (struct side){o, o->offset, addr};
    int err = addr ? hl_linux_get(l, addr, &side->at, sizeof side->at) : 0;
    if (err < 0)
        return err;
    if (addr && hl_window_write(&l->window, addr, sizeof side->at) == NULL)
        return -EFAULT;
    return side->at > INT64_MAX ? -EINVAL : 0;
}

static int go_on(const struct hl_linux *l, struct side *side, uint64_t size)
{
    uint64_t at = side->at + size;

    if (side->addr)
        return hl_linux_put(l, side->addr, &at, sizeof at);
    side->open->offset = at;
    return 0;
}

/* Growing may move what is read, so where that is is asked last. */
static int64_t copy(struct hl_linux *l, struct side *from, struct side *to,
                    uint64_t most)
{
    size_t size = (size_t)(most < MOST ? most : MOST);
    char *out;

    (void)hl_tree_read(&l->files, from->open->node, from->at, &size);
    if (from->open->node == to->open->node && size > 0 &&
        from->at < to->at + size && to->at < from->at + size)
        return -EINVAL;
    if (size == 0)
        return 0;
    int err = hl_tree_write(&l->files, to->open->node, to->at, size,
                            hl_linux_now(l), &out);
    if (err < 0)
        return err;
    const char *in =
        hl_tree_read(&l->files, from->open->node, from->at, &size);
    memcpy(out, in, size);
    err = go_on(l, from, size);
    if (err == 0)
        err = go_on(l, to, size);
    return err < 0 ? err : (int64_t)size;
}

/* What is not between files is for reading and writing: -EINVAL says so. */
int64_t hl_linux_sendfile(struct hl_linux *l, const uint64_t *args)
{
    struct side from, to;

    int err = find_side(l, args[1], args[2], HL_O_WRONLY, &from);
    if (err == 0)
        err = find_side(l, args[0], 0, 0, &to);
    if (err == 0 && to.open->flags & HL_O_APPEND)
        err = -EINVAL;
    return err < 0 ? (err == -EISDIR ? -EINVAL : err)
                   : copy(l, &from, &to, args[3]);
}

int64_t hl_linux_copy_file_range(struct hl_linux *l, const uint64_t *args)
{
    struct side from, to;

    if (args[5])
        return -EINVAL;
    int err = find_side(l, args[0], args[1], HL_O_WRONLY, &from);
    if (err == 0)
        err = find_side(l, args[2], args[3], 0, &to);
    if (err == 0 && to.open->flags & HL_O_APPEND)
        err = -EBADF;
    return err < 0 ? err : copy(l, &from, &to, args[4]);
}
