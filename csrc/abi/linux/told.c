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

static struct linux_stat stat_of_node(const struct hl_linux *l, uint32_t node)
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
    return stat;
}

static int stat_descriptor(const struct hl_linux *l, uint64_t fd,
                           struct linux_stat *stat)
{
    const struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL)
        return -EBADF;
    if (o->kind == HL_LINUX_FILE)
        *stat = stat_of_node(l, o->node);
    else
        *stat = (struct linux_stat){
            .ino = o->kind,
            .nlink = 1,
            .mode = hl_linux_kind(o)->mode,
            .block_size = 4096,
        };
    return 0;
}

int64_t hl_linux_fstat(struct hl_linux *l, const uint64_t *args)
{
    struct linux_stat stat;

    int err = stat_descriptor(l, args[0], &stat);
    return err < 0 ? err : hl_linux_put(l, args[1], &stat, sizeof stat);
}

static int stat_at(struct hl_linux *l, uint64_t fd, uint64_t path,
                   uint64_t flags, struct linux_stat *stat)
{
    struct hl_linux_place place = {.node = l->process->folder};
    char first;

    if (flags & ~(uint64_t)AT_OF_STAT)
        return -EINVAL;
    bool empty = flags & AT_EMPTY_PATH_ &&
                 hl_linux_get(l, path, &first, 1) == 0 && first == '\0';
    if (empty && (uint32_t)fd != HL_LINUX_HERE)
        return stat_descriptor(l, fd, stat);
    int err =
        empty ? 0
              : hl_linux_find_node(l, fd, path,
                                   !(flags & AT_SYMLINK_NOFOLLOW_), &place);
    if (err == 0)
        *stat = stat_of_node(l, place.node);
    return err;
}

int64_t hl_linux_newfstatat(struct hl_linux *l, const uint64_t *args)
{
    struct linux_stat stat;

    int err = stat_at(l, args[0], args[1], args[3], &stat);
    return err < 0 ? err : hl_linux_put(l, args[2], &stat, sizeof stat);
}

struct linux_statx {
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t nlink, uid, gid;
    uint16_t mode, pad;
    uint64_t ino, size, blocks, attributes_mask;
    struct {
        uint64_t seconds;
        uint32_t ns, pad;
    } times[4]; /* read, made, told of, changed */
    uint32_t rdev[2], dev[2];
    uint64_t rest[14];
};
_Static_assert(sizeof(struct linux_statx) == 256, "linux/stat.h");

#define STATX_BASIC_STATS_ 0x7ffu
#define STATX_RESERVED_ 0x80000000u
#define AT_STATX_SYNC 0x6000u

/* All that stat tells, whatever was asked for; there is no time of making. */
int64_t hl_linux_statx(struct hl_linux *l, const uint64_t *args)
{
    struct linux_stat stat;

    if (args[3] & STATX_RESERVED_ ||
        (args[2] & AT_STATX_SYNC) == AT_STATX_SYNC)
        return -EINVAL;
    int err = stat_at(l, args[0], args[1], (uint32_t)args[2], &stat);
    if (err < 0)
        return err;
    struct linux_statx told = {
        .mask = STATX_BASIC_STATS_,
        .block_size = (uint32_t)stat.block_size,
        .nlink = (uint32_t)stat.nlink,
        .mode = (uint16_t)stat.mode,
        .ino = stat.ino,
        .size = (uint64_t)stat.size,
        .blocks = (uint64_t)stat.blocks,
        .dev = {0, (uint32_t)stat.dev},
    };
    for (size_t i = 0; i < HL_ARRAY_SIZE(told.times); i++) {
        if (i == 1)
            continue;
        told.times[i].seconds = stat.times[0].seconds;
        told.times[i].ns = (uint32_t)stat.times[0].ns;
    }
    return hl_linux_put(l, args[4], &told, sizeof told);
}

#define DOT 1u
#define DOTS 2u

struct entry { /* struct linux_dirent64, without its name */
    uint64_t node;
    int64_t next;
    uint16_t size;
    uint8_t kind;
} __attribute__((packed));

/* Of a folder: its dots come first, and then its nodes by their numbers, which
 * are the same however it changes meanwhile. */
struct entries {
    uint64_t has[(HL_TREE_NODES + DOTS) / 64 + 1]; /* a bit for each cookie */
};

static void find_entries(const struct hl_linux *l, uint32_t folder,
                         struct entries *e)
{
    *e = (struct entries){.has = {1 << DOT | 1 << DOTS}};
    for (uint32_t n = node_of(l, folder)->child; n; n = node_of(l, n)->next)
        e->has[(n + DOTS) / 64] |= UINT64_C(1) << (n + DOTS) % 64;
}

/* The cookie behind this one, or 0. */
static uint64_t next_entry(const struct entries *e, uint64_t after)
{
    uint64_t at = after + 1, word = at / 64;

    if (word >= HL_ARRAY_SIZE(e->has))
        return 0;
    uint64_t left = e->has[word] & UINT64_MAX << at % 64;
    while (left == 0 && ++word < HL_ARRAY_SIZE(e->has))
        left = e->has[word];
    return left ? word * 64 + (uint64_t)__builtin_ctzll(left) : 0;
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
    struct entries entries;
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
    find_entries(l, folder, &entries);
    while ((cookie = next_entry(&entries, o->offset)) != 0) {
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
