#include "abi/linux/volumes.h"

#include "abi/linux/kinds.h"
#include "abi/linux/paths.h"

#define TMPFS_MAGIC_ 0x01021994
#define AT_SYMLINK_NOFOLLOW_ 0x100u
#define AT_SYMLINK_FOLLOW_ 0x400u
#define AT_EMPTY_PATH_ 0x1000u
#define LOCK_NB_ 4u

static uint64_t free_pages(const struct hl_files *f)
{
    uint64_t used = 0;

    for (uint64_t page = 0; page < f->tree->page_count; page += 64)
        used += (uint64_t)__builtin_popcountll(f->used[page / 64]);
    return f->tree->page_count - used;
}

static int tell(const struct hl_linux *l, uint64_t addr)
{
    const struct hl_files *f = &l->files;
    const struct { /* struct statfs */
        uint64_t type, block_size, blocks, free, available;
        uint64_t nodes, free_nodes;
        int32_t id[2];
        uint64_t name, fragment, flags, spare[4];
    } told = {
        .type = TMPFS_MAGIC_,
        .block_size = HL_TREE_PAGE,
        .blocks = f->tree->page_count,
        .free = free_pages(f),
        .available = free_pages(f),
        .nodes = HL_TREE_NODES,
        .free_nodes = HL_TREE_NODES - f->tree->free_node,
        .name = HL_TREE_NAME,
        .fragment = HL_TREE_PAGE,
    };

    _Static_assert(sizeof told == 120, "asm-generic/statfs.h");
    return hl_linux_put(l, addr, &told, sizeof told);
}

int64_t hl_linux_statfs(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    int err = hl_linux_find_node(l, HL_LINUX_HERE, args[0], true, &place);
    return err < 0 ? err : tell(l, args[1]);
}

int64_t hl_linux_fstatfs(struct hl_linux *l, const uint64_t *args)
{
    return hl_linux_opened(l, args[0]) ? tell(l, args[1]) : -EBADF;
}

/* Nobody else has a lock. */
int64_t hl_linux_flock(struct hl_linux *l, const uint64_t *args)
{
    uint32_t what = (uint32_t)args[1] & ~LOCK_NB_;

    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    return what == 1 || what == 2 || what == 8 ? 0 : -EINVAL;
}

/* F3: as on a file system without them. */
int64_t hl_linux_linkat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place from, to;

    if (args[4] & ~(uint64_t)(AT_SYMLINK_FOLLOW_ | AT_EMPTY_PATH_))
        return -EINVAL;
    int err = hl_linux_find_node(l, args[0], args[1],
                                 args[4] & AT_SYMLINK_FOLLOW_, &from);
    if (err == 0)
        err = hl_linux_find(l, args[2], args[3], false, &to);
    if (err < 0)
        return err;
    return to.node ? -EEXIST : -EPERM;
}

int64_t hl_linux_mknodat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    int err = hl_linux_find(l, args[0], args[1], false, &place);
    if (err < 0)
        return err;
    return place.node ? -EEXIST : -EPERM;
}

/* All is root's, and stays so. */
static int to_root(const struct hl_linux *l, uint32_t node, uint64_t user,
                   uint64_t group)
{
    if (l->files.tree->nodes[node].fixed)
        return -EROFS;
    /* -1: as it is */
    return (uint32_t)(user + 1) > 1 || (uint32_t)(group + 1) > 1 ? -EPERM : 0;
}

int64_t hl_linux_fchown(struct hl_linux *l, const uint64_t *args)
{
    uint32_t node = hl_linux_node_of(l, args[0]);

    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    return node ? to_root(l, node, args[1], args[2]) : -EPERM;
}

int64_t hl_linux_fchownat(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t of_descriptor[] = {args[0], args[2], args[3]};
    struct hl_linux_place place;
    char first;

    if (args[4] & ~(uint64_t)(AT_SYMLINK_NOFOLLOW_ | AT_EMPTY_PATH_))
        return -EINVAL;
    if (args[4] & AT_EMPTY_PATH_ && hl_linux_get(l, args[1], &first, 1) == 0 &&
        first == '\0')
        return hl_linux_fchown(l, of_descriptor);
    int err = hl_linux_find_node(l, args[0], args[1],
                                 !(args[4] & AT_SYMLINK_NOFOLLOW_), &place);
    return err < 0 ? err : to_root(l, place.node, args[2], args[3]);
}

/* All is in memory. */
int64_t hl_linux_fadvise64(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_open *o = hl_linux_opened(l, args[0]);

    if (o == NULL)
        return -EBADF;
    if (!hl_linux_kind(o)->has_places)
        return -ESPIPE;
    return args[2] > INT64_MAX || (uint32_t)args[3] > 5 ? -EINVAL : 0;
}

int64_t hl_linux_readahead(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_open *o = hl_linux_opened(l, args[0]);

    if (o == NULL || (o->flags & HL_O_ACCMODE) == HL_O_WRONLY)
        return -EBADF;
    return hl_linux_kind(o)->has_places ? 0 : -EINVAL;
}
