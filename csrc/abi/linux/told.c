/* What is told of files and folders. */
#include <string.h>

#include "abi/linux/given.h"
#include "abi/linux/kinds.h"
#include "abi/linux/names.h"
#include "abi/linux/paths.h"

#define AT_SYMLINK_NOFOLLOW_ 0x100
#define AT_EMPTY_PATH_ 0x1000
#define AT_OF_STAT 0x7900 /* with those that say how fresh it has to be */

static const struct hl_tree_node *node_of(const struct hl_linux *l,
                                          uint32_t node)
{
    return &l->files.tree->nodes[node];
}

struct linux_stat {
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad;
    uint64_t rdev;
    int64_t size, block_size, blocks;
    struct {
        uint64_t seconds, ns;
    } times[3];
    int64_t unused[3];
};
_Static_assert(sizeof(struct linux_stat) == 144, "asm/stat.h");

static uint32_t mode_of(const struct hl_tree_node *n)
{
    static const uint32_t kinds[] = {
        [HL_TREE_FOLDER] = 0040000,
        [HL_TREE_FILE] = 0100000,
        [HL_TREE_LINK] = 0120000,
        [HL_TREE_DEVICE] = 0020000,
    };

    return kinds[n->kind] | n->mode;
}

static int tell_node(const struct hl_linux *l, uint32_t node, uint64_t addr)
{
    const struct hl_tree_node *n = node_of(l, node);
    struct linux_stat stat = {
        .dev = 1,
        .ino = node,
        .nlink = n->parent == 0              ? 0
                 : n->kind == HL_TREE_FOLDER ? 2
                                             : 1,
        .mode = mode_of(n),
        .size = (int64_t)n->size,
        .block_size = 4096,
        .blocks = (int64_t)((n->size + 511) / 512),
    };

    for (size_t i = 0; i < HL_ARRAY_SIZE(stat.times); i++) {
        stat.times[i].seconds = n->changed / 1000000000;
        stat.times[i].ns = n->changed % 1000000000;
    }
    return hl_linux_put(l, addr, &stat, sizeof stat);
}

int64_t hl_linux_fstat(struct hl_linux *l, const uint64_t *args)
{
    const struct hl_linux_open *o = hl_linux_opened(l, args[0]);

    if (o == NULL)
        return -EBADF;
    if (o->kind == HL_LINUX_FILE)
        return tell_node(l, o->node, args[1]);
    const struct linux_stat stat = {
        .ino = o->kind,
        .nlink = 1,
        .mode = hl_linux_kind(o)->mode,
        .block_size = 4096,
    };
    return hl_linux_put(l, args[1], &stat, sizeof stat);
}

int64_t hl_linux_newfstatat(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t of_descriptor[] = {args[0], args[2]};
    struct hl_linux_place place;
    char first;

    if (args[3] & ~(uint64_t)AT_OF_STAT)
        return -EINVAL;
    if (args[3] & AT_EMPTY_PATH_ && hl_linux_get(l, args[1], &first, 1) == 0 &&
        first == '\0')
        return (uint32_t)args[0] == HL_LINUX_HERE
                   ? tell_node(l, l->process->folder, args[2])
                   : hl_linux_fstat(l, of_descriptor);
    int err = hl_linux_find_node(l, args[0], args[1],
                                 !(args[3] & AT_SYMLINK_NOFOLLOW_), &place);
    return err < 0 ? err : tell_node(l, place.node, args[2]);
}

#define DOT 1u
#define DOTS 2u

struct entry { /* struct linux_dirent64, without its name */
    uint64_t node;
    int64_t next;
    uint16_t size;
    uint8_t kind;
} __attribute__((packed));

/* The node behind `after` among a folder's, by their numbers, which are the
 * same however it changes meanwhile: its dots come first.  0: none. */
static uint64_t next_entry(const struct hl_linux *l, uint32_t folder,
                           uint64_t after)
{
    uint64_t found = 0;

    if (after < DOTS)
        return after + 1;
    for (uint32_t n = node_of(l, folder)->child; n; n = node_of(l, n)->next)
        if (n + DOTS > after && (found == 0 || n + DOTS < found))
            found = n + DOTS;
    return found;
}

static size_t fill_entry(const struct hl_linux *l, uint32_t folder,
                         uint64_t cookie, char *to)
{
    static const uint8_t kinds[] = {0, 4, 8, 10, 2}; /* DT_* */
    uint32_t node = cookie == DOT    ? folder
                    : cookie == DOTS ? node_of(l, folder)->parent
                                     : (uint32_t)(cookie - DOTS);
    const struct hl_tree_node *n = node_of(l, node);
    const char *name = cookie == DOT ? "." : cookie == DOTS ? ".." : n->name;
    size_t length = strlen(name);
    size_t size = (sizeof(struct entry) + length + 1 + 7) & ~(size_t)7;
    const struct entry entry = {
        .node = node,
        .next = (int64_t)cookie,
        .size = (uint16_t)size,
        .kind = kinds[n->kind],
    };

    memset(to, 0, size);
    memcpy(to, &entry, sizeof entry);
    memcpy(to + sizeof entry, name, length);
    return size;
}

#define MOST_ENTRY (sizeof(struct entry) + HL_TREE_NAME + 1 + 7)

int64_t hl_linux_getdents64(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o = hl_linux_opened(l, args[0]);
    char entry[MOST_ENTRY];
    uint64_t used = 0, cookie;

    if (o == NULL)
        return -EBADF;
    uint32_t folder = hl_linux_node_of(l, args[0]);
    if (folder == 0 || node_of(l, folder)->kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    int err = hl_linux_need(l, folder);
    if (err < 0)
        return err;
    while ((cookie = next_entry(l, folder, o->offset)) != 0) {
        size_t size = fill_entry(l, folder, cookie, entry);
        if (size > (uint32_t)args[2] - used)
            return used ? (int64_t)used : -EINVAL;
        if (hl_linux_put(l, args[1] + used, entry, size) < 0)
            return used ? (int64_t)used : -EFAULT;
        used += size;
        o->offset = cookie;
    }
    return (int64_t)used;
}
