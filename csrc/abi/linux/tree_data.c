/* What files hold: each a run of pages, which is moved where it cannot grow.
 * Small files are many and short-lived, large ones few and written once: so
 * first fit, and twice as much as is needed when a file grows. */
#include <string.h>

#include "abi/linux/tree.h"
#include "mem/bitmap.h"
#include "mem/copy.h"

struct hl_tree_node *hl_tree_change(const struct hl_files *f, uint32_t node)
{
    struct hl_tree_node *n = &f->tree->nodes[node];

    hl_window_own(f->window, n, sizeof *n);
    return n;
}

static size_t pages_for(uint64_t size)
{
    return (size_t)((size + HL_TREE_PAGE - 1) / HL_TREE_PAGE);
}

static char *page_at(const struct hl_files *f, uint64_t page)
{
    return f->data + page * HL_TREE_PAGE;
}

static bool is_used(const struct hl_files *f, uint64_t page)
{
    return f->used[page / 64] >> page % 64 & 1;
}

static void set_used(const struct hl_files *f, uint64_t first, uint64_t count,
                     bool used)
{
    if (count == 0)
        return;
    uint64_t *from = &f->used[first / 64];
    uint64_t *to = &f->used[(first + count - 1) / 64];
    hl_window_own(f->window, from, (size_t)(to - from + 1) * sizeof *from);
    if (used)
        hl_bitmap_set_range(f->used, first, count);
    else
        hl_bitmap_clear_range(f->used, first, count);
}

/* So many pages from there on that nobody has. */
static uint64_t free_from(const struct hl_files *f, uint64_t page,
                          uint64_t enough)
{
    uint64_t count = 0;

    while (count < enough && page + count < f->tree->page_count &&
           !is_used(f, page + count))
        count++;
    return count;
}

/* The first run of that many, or page_count. */
static uint64_t find_run(const struct hl_files *f, uint64_t count)
{
    uint64_t page = 0;

    while (page + count <= f->tree->page_count) {
        uint64_t have = free_from(f, page, count);
        if (have == count)
            return page;
        page += have + 1;
    }
    return f->tree->page_count;
}

/* F2.  Only what is not zero is written. */
static void zero(const struct hl_files *f, char *from, size_t size)
{
    while (size > 0) {
        size_t page = HL_TREE_PAGE - (size_t)(from - f->data) % HL_TREE_PAGE;
        size_t part = page < size ? page : size;
        static const char zeros[HL_TREE_PAGE];
        if (memcmp(from, zeros, part) != 0) {
            hl_window_own(f->window, from, part);
            memset(from, 0, part);
        }
        from += part;
        size -= part;
    }
}

static void give_back(const struct hl_files *f, uint64_t first, uint64_t count)
{
    zero(f, page_at(f, first), (size_t)count * HL_TREE_PAGE);
    set_used(f, first, count, false);
}

/* Room for so many pages in all, of which it has fewer. */
static int grow(struct hl_files *f, uint32_t node, uint64_t pages)
{
    struct hl_tree_node *n = hl_tree_change(f, node);
    uint64_t more = pages - n->room;

    if (n->room && free_from(f, n->first + n->room, more) == more) {
        set_used(f, n->first + n->room, more, true);
        n->room = pages;
        return 0;
    }
    uint64_t wanted = n->room ? 2 * pages : pages;
    uint64_t first = find_run(f, wanted);
    if (first == f->tree->page_count && wanted > pages)
        first = find_run(f, wanted = pages);
    if (first == f->tree->page_count)
        return -ENOSPC;
    set_used(f, first, wanted, true);
    if (n->room) {
        size_t size = (size_t)pages_for(n->size) * HL_TREE_PAGE;
        if (size > 0) {
            hl_window_own(f->window, page_at(f, first), size);
            hl_copy(page_at(f, first), page_at(f, n->first), size);
        }
        give_back(f, n->first, n->room);
    }
    n->first = first;
    n->room = wanted;
    return 0;
}

/* Before the first write to it: bytes of the host's become its own. */
static int own(struct hl_files *f, uint32_t node)
{
    const struct hl_tree_node *n = &f->tree->nodes[node];

    if (n->content == 0)
        return 0;
    const struct hl_tree_content *c = &f->contents[n->content - 1];
    if (c->size > 0) {
        int err = grow(f, node, pages_for(c->size));
        if (err < 0)
            return err;
        hl_window_own(f->window, page_at(f, n->first), c->size);
        memcpy(page_at(f, n->first), c->bytes, c->size);
    }
    hl_tree_change(f, node)->content = 0;
    return 0;
}

const char *hl_tree_read(const struct hl_files *f, uint32_t node, uint64_t at,
                         size_t *size)
{
    const struct hl_tree_node *n = &f->tree->nodes[node];
    uint64_t left = at < n->size ? n->size - at : 0;

    if (*size > left)
        *size = (size_t)left;
    if (*size == 0)
        return NULL;
    const char *bytes =
        n->content ? f->contents[n->content - 1].bytes : page_at(f, n->first);
    return bytes + at;
}

/* To less than it has, or as much. */
static void shrink(struct hl_files *f, struct hl_tree_node *n, uint64_t size)
{
    uint64_t keep = pages_for(size);

    if (n->content == 0 && n->room > 0) {
        zero(f, page_at(f, n->first) + size, (size_t)(n->size - size));
        set_used(f, n->first + keep, n->room - keep, false);
        n->room = keep;
    }
    n->content = 0;
    n->size = size;
}

void hl_tree_empty(struct hl_files *f, uint32_t node)
{
    shrink(f, hl_tree_change(f, node), 0);
}

int hl_tree_resize(struct hl_files *f, uint32_t node, uint64_t size,
                   uint64_t now)
{
    const struct hl_tree_node *n = &f->tree->nodes[node];

    if (size > f->tree->page_count * HL_TREE_PAGE)
        return size > INT64_MAX ? -EFBIG : -ENOSPC;
    int err = size > 0 ? own(f, node) : 0;
    if (err == 0 && pages_for(size) > n->room)
        err = grow(f, node, pages_for(size));
    if (err < 0)
        return err;
    struct hl_tree_node *to = hl_tree_change(f, node);
    if (size < to->size)
        shrink(f, to, size);
    to->size = size;
    to->changed = now;
    return 0;
}

int hl_tree_write(struct hl_files *f, uint32_t node, uint64_t at, size_t size,
                  uint64_t now, char **to)
{
    const struct hl_tree_node *n = &f->tree->nodes[node];

    if (at > (uint64_t)INT64_MAX - size)
        return -EFBIG;
    int err = own(f, node);
    if (err == 0 && at + size > n->size)
        err = hl_tree_resize(f, node, at + size, now);
    if (err < 0)
        return err;
    hl_tree_change(f, node)->changed = now;
    *to = page_at(f, n->first) + at;
    if (size > 0)
        hl_window_own(f->window, *to, size);
    return 0;
}
