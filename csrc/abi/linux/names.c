#include "abi/linux/names.h"

#include <string.h>

#include "abi/linux/descriptors.h"
#include "abi/linux/given.h"
#include "abi/linux/paths.h"

#define AT_SYMLINK_NOFOLLOW_ 0x100
#define AT_REMOVEDIR_ 0x200

static const struct hl_tree_node *node_of(const struct hl_linux *l,
                                          uint32_t node)
{
    return &l->files.tree->nodes[node];
}

/* Whose last name is to become one: not of a dot, nor of what is not to be a
 * folder with a slash behind it. */
static int check_new(const struct hl_linux_place *place, bool as_folder)
{
    if (place->node || place->folder == 0)
        return -EEXIST;
    return place->as_folder && !as_folder ? -ENOENT : 0;
}

static int create(struct hl_linux *l, struct hl_linux_place *place,
                  enum hl_tree_kind kind, uint64_t mode)
{
    uint64_t kept = mode & 07777 & ~(uint64_t)l->process->file_mode_mask;
    int err = check_new(place, kind == HL_TREE_FOLDER);

    if (err < 0)
        return err;
    return hl_tree_add(&l->files, place->folder, place->name, place->size,
                       kind, (uint32_t)kept, hl_linux_now(l), &place->node);
}

/* An existing file, as these flags want it. */
static int check_open(const struct hl_linux *l,
                      const struct hl_linux_place *place, uint64_t flags)
{
    const struct hl_tree_node *n = node_of(l, place->node);
    bool writes = (flags & HL_O_ACCMODE) != 0;

    if (flags & HL_O_CREAT && flags & HL_O_EXCL)
        return -EEXIST;
    if (n->kind == HL_TREE_LINK)
        return -ELOOP;
    if (n->kind == HL_TREE_FOLDER)
        return writes || flags & (HL_O_CREAT | HL_O_TRUNC) ? -EISDIR : 0;
    if (flags & HL_O_DIRECTORY)
        return -ENOTDIR;
    if (n->kind == HL_TREE_DEVICE)
        return 0;
    return n->fixed && (writes || flags & HL_O_TRUNC) ? -EROFS : 0;
}

int64_t hl_linux_openat(struct hl_linux *l, const uint64_t *args)
{
    uint64_t flags = args[2];
    bool makes = flags & HL_O_CREAT, made = false;
    bool follows = !(flags & HL_O_NOFOLLOW) && !(makes && flags & HL_O_EXCL);
    struct hl_linux_place place;
    struct hl_linux_open *open;

    int err = hl_linux_find(l, args[0], args[1], follows, &place);
    if (err < 0)
        return err;
    if (place.node)
        err = check_open(l, &place, flags);
    else if (makes)
        made = (err = create(l, &place, HL_TREE_FILE, args[3])) == 0;
    else
        err = -ENOENT;
    if (err < 0)
        return err;
    const struct hl_tree_node *n = node_of(l, place.node);
    if (n->kind == HL_TREE_DEVICE)
        return hl_linux_open(l, (enum hl_linux_kind)n->source, flags, &open);
    err = n->kind == HL_TREE_FILE ? hl_linux_need(l, place.node) : 0;
    if (err < 0)
        return err;
    int64_t fd = hl_linux_open_node(l, place.node, flags);
    if (fd < 0 && made)
        (void)!hl_tree_remove(&l->files, place.node, hl_linux_now(l));
    if (fd >= 0 && flags & HL_O_TRUNC &&
        node_of(l, place.node)->kind == HL_TREE_FILE)
        hl_tree_empty(&l->files, place.node);
    return fd;
}

/* To root all is allowed but to execute what nobody may. */
int64_t hl_linux_faccessat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    if (args[2] > 7)
        return -EINVAL;
    int err = hl_linux_find_node(l, args[0], args[1], true, &place);
    if (err < 0)
        return err;
    const struct hl_tree_node *n = node_of(l, place.node);
    if (args[2] & 2 && n->fixed)
        return -EROFS;
    return args[2] & 1 && n->kind != HL_TREE_FOLDER && !(n->mode & 0111)
               ? -EACCES
               : 0;
}

int64_t hl_linux_readlinkat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;
    size_t size = args[3];

    if ((int32_t)args[3] <= 0)
        return -EINVAL;
    int err = hl_linux_find_node(l, args[0], args[1], false, &place);
    if (err < 0)
        return err;
    if (node_of(l, place.node)->kind != HL_TREE_LINK)
        return -EINVAL;
    const char *text = hl_tree_read(&l->files, place.node, 0, &size);
    err = hl_linux_put(l, args[2], text, size);
    return err < 0 ? err : (int64_t)size;
}

int64_t hl_linux_mkdirat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    int err = hl_linux_find(l, args[0], args[1], false, &place);
    return err < 0 ? err : create(l, &place, HL_TREE_FOLDER, args[2]);
}

int64_t hl_linux_unlinkat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;
    bool wants_folder = args[2] == AT_REMOVEDIR_;

    if (args[2] != 0 && !wants_folder)
        return -EINVAL;
    int err = hl_linux_find_node(l, args[0], args[1], false, &place);
    if (err < 0)
        return err;
    bool is_folder = node_of(l, place.node)->kind == HL_TREE_FOLDER;
    if (is_folder != wants_folder)
        return wants_folder ? -ENOTDIR : -EISDIR;
    if (place.folder == 0)
        return place.node == HL_TREE_ROOT ? -EBUSY : -EINVAL;
    return hl_tree_remove(&l->files, place.node, hl_linux_now(l));
}

/* Flags: not to replace anything. */
int64_t hl_linux_renameat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place from, to;

    if (args[4] > 1)
        return -EINVAL;
    int err = hl_linux_find_node(l, args[0], args[1], false, &from);
    if (err == 0)
        err = hl_linux_find(l, args[2], args[3], false, &to);
    if (err < 0)
        return err;
    if (from.folder == 0 || to.folder == 0)
        return -EBUSY;
    if (to.node && args[4])
        return -EEXIST;
    if (to.as_folder && node_of(l, from.node)->kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    return hl_tree_move(&l->files, from.node, to.folder, to.name, to.size,
                        hl_linux_now(l));
}

/* The text first: it is the guest's, and may not be there. */
int64_t hl_linux_symlinkat(struct hl_linux *l, const uint64_t *args)
{
    char text[HL_LINUX_PATH], *to;
    struct hl_linux_place place;

    int64_t size = hl_linux_get_path(l, args[0], text);
    if (size <= 0)
        return size < 0 ? size : -ENOENT;
    int err = hl_linux_find(l, args[1], args[2], false, &place);
    if (err == 0)
        err = create(l, &place, HL_TREE_LINK, 0777);
    if (err < 0)
        return err;
    err = hl_tree_write(&l->files, place.node, 0, (size_t)size,
                        hl_linux_now(l), &to);
    if (err < 0)
        (void)!hl_tree_remove(&l->files, place.node, hl_linux_now(l));
    else
        memcpy(to, text, (size_t)size);
    return err;
}

static int64_t go_to(struct hl_linux *l, uint32_t node)
{
    if (node_of(l, node)->kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    hl_tree_open(&l->files, node);
    hl_tree_close(&l->files, l->process->folder);
    l->process->folder = node;
    return 0;
}

int64_t hl_linux_chdir(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    int err = hl_linux_find_node(l, HL_LINUX_HERE, args[0], true, &place);
    return err < 0 ? err : go_to(l, place.node);
}

int64_t hl_linux_fchdir(struct hl_linux *l, const uint64_t *args)
{
    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    uint32_t node = hl_linux_node_of(l, args[0]);
    return node ? go_to(l, node) : -ENOTDIR;
}

/* From its end to the front, name by name. */
int64_t hl_linux_getcwd(struct hl_linux *l, const uint64_t *args)
{
    char text[HL_LINUX_PATH], *at = &text[sizeof text - 1];
    uint32_t node = l->process->folder;

    *at = '\0';
    if (node == HL_TREE_ROOT)
        *--at = '/';
    for (; node != HL_TREE_ROOT; node = node_of(l, node)->parent) {
        const struct hl_tree_node *n = node_of(l, node);
        if (n->parent == 0)
            return -ENOENT;
        if ((size_t)(at - text) < n->name_size + 1)
            return -ENAMETOOLONG;
        at -= n->name_size;
        memcpy(at, n->name, n->name_size);
        *--at = '/';
    }
    size_t size = (size_t)(&text[sizeof text] - at);
    if (args[1] < size)
        return args[1] ? -ERANGE : -EINVAL;
    int err = hl_linux_put(l, args[0], at, size);
    return err < 0 ? err : (int64_t)size;
}

int64_t hl_linux_truncate(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    if (args[1] > INT64_MAX)
        return -EINVAL;
    int err = hl_linux_find_node(l, HL_LINUX_HERE, args[0], true, &place);
    if (err < 0)
        return err;
    const struct hl_tree_node *n = node_of(l, place.node);
    if (n->kind != HL_TREE_FILE)
        return n->kind == HL_TREE_FOLDER ? -EISDIR : -EINVAL;
    err = n->fixed ? -EROFS : hl_linux_need(l, place.node);
    return err < 0 ? err
                   : hl_tree_resize(&l->files, place.node, args[1],
                                    hl_linux_now(l));
}

static int64_t set_mode(struct hl_linux *l, uint32_t node, uint64_t mode)
{
    if (node_of(l, node)->fixed)
        return -EROFS;
    hl_tree_change(&l->files, node)->mode = (uint32_t)mode & 07777;
    return 0;
}

int64_t hl_linux_fchmodat(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_place place;

    int err = hl_linux_find_node(l, args[0], args[1], true, &place);
    return err < 0 ? err : set_mode(l, place.node, args[2]);
}

int64_t hl_linux_fchmod(struct hl_linux *l, const uint64_t *args)
{
    uint32_t node = hl_linux_node_of(l, args[0]);

    if (hl_linux_opened(l, args[0]) == NULL)
        return -EBADF;
    return node ? set_mode(l, node, args[1]) : -EINVAL;
}

/* There is one time for each file: the second of the two, of its change. */
int64_t hl_linux_utimensat(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t now_ = (1 << 30) - 1, omit = (1 << 30) - 2;
    struct hl_linux_place place = {.node = 0};
    uint64_t times[4] = {0, now_, 0, now_}, changed = hl_linux_now(l);

    if (args[2] && hl_linux_get(l, args[2], times, sizeof times) < 0)
        return -EFAULT;
    if (args[1] == 0)
        place.node = hl_linux_node_of(l, args[0]);
    int err =
        args[1] ? hl_linux_find_node(l, args[0], args[1],
                                     !(args[3] & AT_SYMLINK_NOFOLLOW_), &place)
                : 0;
    if (err < 0)
        return err;
    if (place.node == 0)
        return -EBADF;
    if (node_of(l, place.node)->fixed)
        return -EROFS;
    if (times[3] == omit)
        return 0;
    if (times[3] != now_) {
        if (times[3] >= 1000000000 || times[2] > UINT32_MAX)
            return -EINVAL;
        changed = times[2] * 1000000000 + times[3];
    }
    hl_tree_change(&l->files, place.node)->changed = changed;
    return 0;
}

int64_t hl_linux_umask(struct hl_linux *l, const uint64_t *args)
{
    uint32_t had = l->process->file_mode_mask;

    l->process->file_mode_mask = (uint32_t)args[0] & 0777;
    return had;
}
