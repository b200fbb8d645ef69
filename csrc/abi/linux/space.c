#include "abi/linux/space.h"

#include <string.h>

#include "abi/linux/mappings.h"
#include "mem/copy.h"
#include "vm/slots.h"

#define PROT_READ_ 1
#define PROT_WRITE_ 2
#define PROT_EXEC_ 4
#define PROT_ALL 7

#define MAP_TYPE_ 0xf
#define MAP_SHARED_ 1
#define MAP_PRIVATE_ 2
#define MAP_SHARED_VALIDATE_ 3
#define MAP_FIXED_ 0x10
#define MAP_ANONYMOUS_ 0x20
#define MAP_HUGETLB_ 0x40000
#define MAP_FIXED_NOREPLACE_ 0x100000

#define MREMAP_MAYMOVE_ 1
#define MREMAP_FIXED_ 2

#define MADV_DONTNEED_ 4
#define MADV_REMOVE_ 9
#define MADV_DONTFORK_ 10
#define MADV_LAST 25 /* MADV_COLLAPSE */

static uint64_t arena_end(const struct hl_linux *l)
{
    return l->arena.addr + l->arena.size;
}

static uint64_t brk_end(const struct hl_linux *l)
{
    return hl_linux_page_up(l->process->brk);
}

static bool in_arena(const struct hl_linux *l, uint64_t start, uint64_t end)
{
    return start >= l->arena.addr && start <= end && end <= arena_end(l);
}

/* L2.  Pages that are zero already are only read: a write would make them
 * dirty, and have to be put back. */
static void zero(const struct hl_linux *l, uint64_t start, uint64_t end)
{
    for (; start < end; start += HL_LINUX_PAGE) {
        char *host = hl_vm_host(l->window.vm, start, HL_LINUX_PAGE);
        if (host && !hl_is_zero(host, HL_LINUX_PAGE)) {
            hl_window_own(&l->window, host, HL_LINUX_PAGE);
            hl_zero(host, HL_LINUX_PAGE);
        }
    }
}

/* Is nothing there, neither mapped nor brk's? */
static bool is_free(const struct hl_linux *l, uint64_t start, uint64_t end)
{
    const struct hl_linux_process *p = l->process;
    size_t at = hl_linux_mapping_behind(p, start);

    return in_arena(l, start, end) && start >= brk_end(l) &&
           (at == p->mapping_count || p->mappings[at].start >= end);
}

/* Is all of it mapped, or brk's? */
static bool is_mapped(const struct hl_linux *l, uint64_t start, uint64_t end)
{
    const struct hl_linux_process *p = l->process;

    if (!in_arena(l, start, end))
        return false;
    if (start < brk_end(l))
        start = brk_end(l);
    for (size_t at = hl_linux_mapping_behind(p, start);
         start < end && at < p->mapping_count; at++) {
        if (p->mappings[at].start > start)
            return false;
        start = p->mappings[at].end;
    }
    return start >= end;
}

static bool is_baked(const struct hl_linux *l, uint64_t start, uint64_t end)
{
    return hl_linux_baked_in(l->process, start, end) <
           l->process->mapping_count;
}

/* The highest free place of that size, or 0. */
static uint64_t find_free(const struct hl_linux *l, uint64_t size)
{
    const struct hl_linux_process *p = l->process;
    uint64_t end = arena_end(l), low = brk_end(l);

    for (size_t i = p->mapping_count; i-- > 0; end = p->mappings[i].start)
        if (end - p->mappings[i].end >= size)
            return end - size;
    return end >= low && end - low >= size ? end - size : 0;
}

/* The current end where it cannot be: so the kernel says it. */
int64_t hl_linux_brk(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_process *p = l->process;
    uint64_t wanted = args[0], had = brk_end(l);

    if (wanted < p->brk_start || wanted > arena_end(l))
        return (int64_t)p->brk;
    uint64_t end = hl_linux_page_up(wanted);
    if (end > had && !is_free(l, had, end))
        return (int64_t)p->brk;
    if (end < had)
        zero(l, end, had);
    p->brk = wanted;
    return (int64_t)wanted;
}

/* Where a new mapping goes, or -errno. */
static int64_t place(const struct hl_linux *l, uint64_t hint, uint64_t size,
                     uint64_t flags)
{
    bool fixed = flags & (MAP_FIXED_ | MAP_FIXED_NOREPLACE_);
    uint64_t at = fixed ? hint : hint & ~(HL_LINUX_PAGE - 1);

    if (fixed && at % HL_LINUX_PAGE)
        return -EINVAL;
    if (at > UINT64_MAX - size)
        return fixed ? -ENOMEM : (int64_t)find_free(l, size);
    if (flags & MAP_FIXED_NOREPLACE_)
        return is_free(l, at, at + size)    ? (int64_t)at
               : in_arena(l, at, at + size) ? -EEXIST
                                            : -ENOMEM;
    if (flags & MAP_FIXED_)
        return in_arena(l, at, at + size) && at >= brk_end(l) &&
                       !is_baked(l, at, at + size)
                   ? (int64_t)at
                   : -ENOMEM;
    if (at && is_free(l, at, at + size))
        return (int64_t)at;
    at = find_free(l, size);
    return at ? (int64_t)at : -ENOMEM;
}

/* Mapped files are copied: so a mapping whose writes the file would get cannot
 * be had. */
static int find_file(const struct hl_linux *l, uint64_t fd, bool writes_back,
                     uint32_t *node)
{
    const struct hl_linux_open *o = hl_linux_opened(l, fd);

    if (o == NULL)
        return -EBADF;
    *node = hl_linux_node_of(l, fd);
    if (*node == 0 || l->files.tree->nodes[*node].kind != HL_TREE_FILE ||
        writes_back)
        return -ENODEV;
    return (o->flags & HL_O_ACCMODE) == HL_O_WRONLY ? -EACCES : 0;
}

static void fill(const struct hl_linux *l, uint64_t start, uint64_t size,
                 uint32_t file, uint64_t offset)
{
    size_t here = (size_t)size;
    const char *bytes = hl_tree_read(&l->files, file, offset, &here);
    char *host = hl_vm_host(l->window.vm, start, size);

    if (here == 0 || host == NULL)
        return;
    hl_window_own(&l->window, host, here);
    memcpy(host, bytes, here);
}

/* What was there before may have been run. */
static void tell_of_code(const struct hl_linux *l)
{
    if (l->vm && l->vm->ops->code_changed)
        l->vm->ops->code_changed(l->vm);
}

int64_t hl_linux_mmap(struct hl_linux *l, const uint64_t *args)
{
    uint64_t size = hl_linux_page_up(args[1]), flags = args[3];
    uint64_t type = flags & MAP_TYPE_;

    if (args[1] == 0 || args[5] % HL_LINUX_PAGE || type == 0 ||
        type > MAP_SHARED_VALIDATE_)
        return -EINVAL;
    uint32_t file = 0;
    if (!(flags & MAP_ANONYMOUS_)) {
        int err = find_file(
            l, args[4], type != MAP_PRIVATE_ && args[2] & PROT_WRITE_, &file);
        if (err < 0)
            return err;
    }
    if (size == 0 || flags & MAP_HUGETLB_)
        return -ENOMEM;
    if (args[2] & PROT_EXEC_ && l->process->baked)
        return -EPERM;
    int64_t at = place(l, args[0], size, flags);
    if (at <= 0)
        return at ? at : -ENOMEM;
    struct hl_linux_mapping m = {
        .start = (uint64_t)at,
        .end = (uint64_t)at + size,
        .prot = (uint32_t)args[2] & PROT_ALL,
        .shared = type != MAP_PRIVATE_,
        .from_file = file != 0,
    };
    bool replaces = !is_free(l, m.start, m.end);
    int err = hl_linux_map_as(l, m.start, m.end, &m);
    if (err < 0)
        return err;
    if (replaces)
        zero(l, m.start, m.end);
    if (file)
        fill(l, m.start, size, file, args[5]);
    if (m.prot & PROT_EXEC_)
        tell_of_code(l);
    return at;
}

/* [addr, +size) in whole pages; false: it is invalid. */
static bool range(uint64_t addr, uint64_t size, uint64_t *end)
{
    uint64_t pages = hl_linux_page_up(size);

    if (addr % HL_LINUX_PAGE || (size && pages == 0) ||
        addr > ((uint64_t)1 << 47) - pages)
        return false;
    *end = addr + pages;
    return true;
}

/* Of what brk gave only brk takes, and of the image nothing: as if others were
 * mapped there. */
int64_t hl_linux_munmap(struct hl_linux *l, const uint64_t *args)
{
    uint64_t start = args[0], end;

    if (!range(start, args[1], &end) || args[1] == 0)
        return -EINVAL;
    if (!in_arena(l, start, end))
        return end <= l->arena.addr || start >= arena_end(l) ? 0 : -EINVAL;
    if (start < brk_end(l))
        start = brk_end(l);
    if (!hl_linux_can_map(l, 2))
        return -ENOMEM;
    while (start < end) { /* what was baked stays */
        size_t at = hl_linux_baked_in(l->process, start, end);
        bool found = at < l->process->mapping_count;
        uint64_t stop = found ? l->process->mappings[at].start : end;
        uint64_t next = found ? l->process->mappings[at].end : end;
        if (start < stop) {
            int err = hl_linux_map_as(l, start, stop, NULL);
            if (err < 0)
                return err;
            zero(l, start, stop);
        }
        start = next;
    }
    return 0;
}

/* Copies what was mapped to its new place, and unmaps the old one. */
static int64_t move(struct hl_linux *l, struct hl_linux_mapping old,
                    uint64_t to, uint64_t size)
{
    uint64_t kept = old.end - old.start < size ? old.end - old.start : size;
    struct hl_linux_mapping new = old;
    const void *from = hl_vm_host(l->window.vm, old.start, kept);
    char *host = hl_vm_host(l->window.vm, to, size);

    if (from == NULL || host == NULL) /* over two slots */
        return -ENOMEM;
    if (!hl_linux_can_map(l, 4))
        return -ENOMEM;
    new.start = to;
    new.end = to + size;
    bool replaces = !is_free(l, to, to + size);
    int err = hl_linux_map_as(l, to, to + size, &new);
    if (err == 0)
        err = hl_linux_map_as(l, old.start, old.end, NULL);
    if (err < 0)
        return err;
    if (replaces)
        zero(l, to, to + size);
    hl_window_own(&l->window, host, kept);
    hl_copy(host, from, kept);
    zero(l, old.start, old.end);
    return (int64_t)to;
}

/* The range of one mapping, or of a part of it: others are EFAULT. */
static int find_whole(const struct hl_linux *l, uint64_t start, uint64_t end,
                      struct hl_linux_mapping *found)
{
    const struct hl_linux_process *p = l->process;
    size_t at = hl_linux_mapping_behind(p, start);

    if (at == p->mapping_count || p->mappings[at].start > start ||
        p->mappings[at].end < end)
        return -EFAULT;
    if (p->mappings[at].baked)
        return -EINVAL;
    *found = p->mappings[at];
    found->start = start;
    found->end = end;
    return 0;
}

static int64_t move_fixed(struct hl_linux *l, struct hl_linux_mapping old,
                          uint64_t to, uint64_t size)
{
    uint64_t end;

    if (!range(to, size, &end) || (to < old.end && end > old.start))
        return -EINVAL;
    if (!in_arena(l, to, end) || to < brk_end(l) || is_baked(l, to, end))
        return -ENOMEM;
    return move(l, old, to, size);
}

int64_t hl_linux_mremap(struct hl_linux *l, const uint64_t *args)
{
    uint64_t start = args[0], size = hl_linux_page_up(args[2]),
             flags = args[3];
    struct hl_linux_mapping old;
    uint64_t end;

    if (!range(start, args[1], &end) || args[1] == 0 || args[2] == 0 ||
        flags > (MREMAP_MAYMOVE_ | MREMAP_FIXED_) || flags == MREMAP_FIXED_)
        return -EINVAL;
    if (size == 0)
        return -ENOMEM;
    int err = find_whole(l, start, end, &old);
    if (err < 0)
        return err;
    if (flags & MREMAP_FIXED_)
        return move_fixed(l, old, args[4], size);
    if (size <= end - start) {
        err = hl_linux_map_as(l, start + size, end, NULL);
        if (err == 0)
            zero(l, start + size, end);
        return err < 0 ? err : (int64_t)start;
    }
    if (is_free(l, end, start + size)) {
        struct hl_linux_mapping more = old;
        more.start = end;
        more.end = start + size;
        err = hl_linux_map_as(l, more.start, more.end, &more);
        return err < 0 ? err : (int64_t)start;
    }
    uint64_t to = flags & MREMAP_MAYMOVE_ ? find_free(l, size) : 0;
    return to ? move(l, old, to, size) : -ENOMEM;
}

/* Memory that is not the arena's keeps the rights that it has: to take some
 * away is believed, to ask for more is refused. */
static int64_t protect_elsewhere(const struct hl_linux *l, uint64_t start,
                                 uint64_t end, uint64_t prot)
{
    unsigned need = HL_PERM_READ;

    if (!hl_window_allows(&l->window, start, end - start, need))
        return -ENOMEM;
    if (prot & PROT_WRITE_ &&
        !hl_window_allows(&l->window, start, end - start, HL_PERM_WRITE))
        return -EACCES;
    if (prot & PROT_EXEC_ &&
        !hl_window_allows(&l->window, start, end - start, HL_PERM_EXECUTE))
        return -EPERM;
    return 0;
}

int64_t hl_linux_mprotect(struct hl_linux *l, const uint64_t *args)
{
    uint64_t start = args[0], prot = args[2], end;

    if (!range(start, args[1], &end) || prot & ~(uint64_t)PROT_ALL)
        return -EINVAL;
    if (start == end)
        return 0;
    if (!in_arena(l, start, end))
        return protect_elsewhere(l, start, end, prot);
    if (!is_mapped(l, start, end))
        return -ENOMEM;
    if (l->process->baked && prot & PROT_WRITE_ && is_baked(l, start, end))
        return -EACCES;
    if (l->process->baked && prot & PROT_EXEC_)
        return -EPERM;
    while (start < end) { /* brk's is not in the table */
        size_t at = hl_linux_mapping_behind(l->process, start);
        if (at == l->process->mapping_count)
            break;
        struct hl_linux_mapping part = l->process->mappings[at];
        if (part.start >= end)
            break;
        part.start = part.start > start ? part.start : start;
        part.end = part.end < end ? part.end : end;
        start = part.end;
        if (part.baked)
            continue;
        part.prot = (uint32_t)prot;
        int err = hl_linux_map_as(l, part.start, part.end, &part);
        if (err < 0)
            return err;
    }
    return 0;
}

int64_t hl_linux_madvise(struct hl_linux *l, const uint64_t *args)
{
    uint64_t start = args[0], end;

    if (!range(start, args[1], &end) || args[2] > MADV_LAST)
        return -EINVAL;
    if (start == end)
        return 0;
    if (args[2] == MADV_REMOVE_)
        return -EINVAL;
    if (!in_arena(l, start, end) || !is_mapped(l, start, end))
        return -ENOMEM;
    if (args[2] != MADV_DONTNEED_)
        return 0;
    if (is_baked(l, start, end))
        return -EINVAL;
    zero(l, start, end);
    return 0;
}

int64_t hl_linux_msync(struct hl_linux *l, const uint64_t *args)
{
    uint64_t end;

    if (!range(args[0], args[1], &end) || args[2] > 7)
        return -EINVAL;
    return is_mapped(l, args[0], end) ? 0 : -ENOMEM;
}
