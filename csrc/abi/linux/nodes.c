/* Files of the tree, as what is behind a descriptor. */
#include <string.h>

#include "abi/linux/kinds.h"

static int64_t read_file(struct hl_linux *l, struct hl_linux_open *o,
                         uint64_t at, uint64_t addr, uint64_t size)
{
    size_t here = (size_t)size;
    const char *from = hl_tree_read(&l->files, o->node, at, &here);

    int err = here ? hl_linux_put(l, addr, from, here) : 0;
    return err < 0 ? err : (int64_t)here;
}

static int64_t write_file(struct hl_linux *l, struct hl_linux_open *o,
                          uint64_t at, uint64_t addr, uint64_t size)
{
    const void *from = hl_window_read(&l->window, addr, size);
    char *to;

    if (from == NULL)
        return -EFAULT;
    int err =
        hl_tree_write(&l->files, o->node, at, size, hl_linux_now(l), &to);
    if (err < 0)
        return err;
    memcpy(to, from, size);
    return (int64_t)size;
}

static void close_file(struct hl_linux *l, struct hl_linux_open *o)
{
    hl_tree_close(&l->files, o->node);
}

const struct hl_linux_kind_ops hl_linux_files = {
    .read = read_file,
    .write = write_file,
    .closed = close_file,
    .has_places = true,
    .cannot_watch = true,
};
