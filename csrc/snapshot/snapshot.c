#include "snapshot/snapshot.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "mem/copy.h"
#include "mem/runs.h"
#include "os/others.h"
#include "snapshot/nodes.h"

/* So many pages and nodes are freed within some 5 us. */
#define QUICK ((size_t)128)
/* To look at the children of one. */
#define NODE_NS 50

struct hl_snapshot {
    struct hl_store *store;
    size_t page_count;
    atomic_uint refs;
    uint32_t root;   /* node, or 0: all zero */
    int height;      /* levels of nodes; the leaves' is 0 */
    const char *row; /* hl_snapshot_row's answer */
};

static atomic_size_t alive;

void hl_snapshot_counts(size_t *snapshots, size_t *stores)
{
    *snapshots = atomic_load(&alive);
    *stores = hl_store_count();
}

/* Follows from the page count alone: the trees of snapshots of one size have
 * the same shape, and can be walked side by side.  At most eight, for the 2^32
 * pages of HL_MAX_PAGES; five for a GiB. */
static int height_for(size_t page_count)
{
    int height = 1;
    while (page_count > (size_t)1 << (height * HL_NODE_BITS))
        height++;
    return height;
}

/* Which child of a node on `level` leads to the page. */
static size_t way(uint32_t page, int level)
{
    return page >> (level * HL_NODE_BITS) & (HL_NODE_WAYS - 1);
}

/* Children of a node, or of the empty subtree: lookups and comparisons need no
 * case of their own for it.  Takes no lock, since children are written before
 * anybody knows the node's number; changes nothing, in spite of the cast. */
static const struct hl_node *children(const struct hl_store *store,
                                      uint32_t number)
{
    static const struct hl_node empty;
    struct hl_nodes *nodes = hl_store_nodes((struct hl_store *)store);
    return number ? hl_nodes_get(nodes, number) : &empty;
}

/* Drop one reference on a subtree.  Recursion is at most eight deep.  A node
 * does not tell what its children are, slots or nodes: the level does.  It is
 * released last, because a released node's child[0] is part of a list. */
static void drop_tree(struct hl_store *store, uint32_t number, int level)
{
    struct hl_nodes *nodes = hl_store_nodes(store);

    if (number == 0 || --*hl_nodes_refs(nodes, number) > 0)
        return;
    const struct hl_node *node = hl_nodes_get(nodes, number);
    for (size_t i = 0; i < HL_NODE_WAYS; i++) {
        if (level == 0)
            hl_store_release_locked(store, node->child[i]);
        else
            drop_tree(store, node->child[i], level - 1);
    }
    hl_nodes_release(nodes, number);
}

static void hold_child(struct hl_store *store, uint32_t child, int level)
{
    if (level == 0)
        hl_store_hold_locked(store, child);
    else if (child != 0)
        ++*hl_nodes_refs(hl_store_nodes(store), child);
}

static void drop_child(struct hl_store *store, uint32_t child, int level)
{
    if (level == 0)
        hl_store_release_locked(store, child);
    else
        drop_tree(store, child, level - 1);
}

/* A copy of subtree `base` with `edits`, all of which lie in it, applied; the
 * result holds its own reference on every slot.  -ENOMEM: nothing is left.
 *
 * The node is put together on the stack and gets its number last, when all its
 * children exist: a failure below it leaves no half-built node to take apart.
 * `ours` are the children that this call holds a reference on already; the
 * others are shared with `base`, and are held only when nothing can fail any
 * more, so that a failure has only `ours` to drop.
 *
 * A subtree of which nothing but zeros is left becomes 0 again: memory that
 * was zeroed costs no index, and no time in later walks. */
static int edit_tree(struct hl_store *store, uint32_t base, int level,
                     const struct hl_edit *edits, size_t count,
                     uint32_t *result)
{
    struct hl_node made = *children(store, base);
    bool ours[HL_NODE_WAYS] = {false};
    uint32_t any = 0;
    int err = 0;

    for (size_t i = 0, next; i < count && err == 0; i = next) {
        size_t w = way(edits[i].page, level);
        for (next = i + 1; next < count; next++)
            if (way(edits[next].page, level) != w)
                break;
        if (level == 0) {
            made.child[w] = edits[next - 1].slot;
            hl_store_hold_locked(store, made.child[w]);
        } else {
            err = edit_tree(store, made.child[w], level - 1, &edits[i],
                            next - i, &made.child[w]);
        }
        ours[w] = err == 0;
    }
    for (size_t w = 0; w < HL_NODE_WAYS; w++)
        any |= made.child[w];

    *result = 0;
    if (err == 0 && any != 0) {
        *result = hl_nodes_alloc(hl_store_nodes(store));
        err = *result ? 0 : -ENOMEM;
    }
    for (size_t w = 0; w < HL_NODE_WAYS; w++) {
        if (err == 0 && !ours[w])
            hold_child(store, made.child[w], level);
        else if (err < 0 && ours[w])
            drop_child(store, made.child[w], level);
    }
    if (*result)
        *hl_nodes_get(hl_store_nodes(store), *result) = made;
    return err;
}

/* The root of base with edits, holding all it refers to.  One lock for all of
 * it: counts of shared nodes and slots change together.  A take that found
 * nothing changed shares the root, and costs no node.
 *
 * The tree takes references of its own, and the caller's are dropped when that
 * has succeeded, instead of being handed over one by one: so they are all the
 * caller's still after a failure, however far it got. */
static int make_root(struct hl_store *store, int height, uint32_t base,
                     const struct hl_edit *edits, size_t count, uint32_t *root)
{
    int err = 0;

    hl_store_lock(store);
    if (count == 0) {
        *root = base;
        hold_child(store, base, height);
    } else {
        err = edit_tree(store, base, height - 1, edits, count, root);
    }
    if (err == 0)
        for (size_t i = 0; i < count; i++)
            hl_store_release_locked(store, edits[i].slot);
    hl_store_unlock(store);
    return err;
}

/* The answer of hl_snapshot_row.  It is not NULL for a first take of up to a
 * slab of memory, all of it written, and for a take after it that finds
 * nothing changed.  In what is larger, copies are long without it. */
static const char *find_row(const struct hl_store *store, size_t page_count,
                            const struct hl_snapshot *base,
                            const struct hl_edit *edits, size_t count)
{
    if (count == 0)
        return base ? base->row : NULL;
    if (count != page_count || edits[0].slot == HL_SLOT_ZERO)
        return NULL;
    for (size_t i = 1; i < count; i++)
        if (edits[i].slot != edits[0].slot + i)
            return NULL;
    const char *first = hl_store_page(store, edits[0].slot);
    const char *last = hl_store_page(store, edits[count - 1].slot);
    bool joined = last == first + (count - 1) * hl_store_page_size(store);
    return joined ? first : NULL; /* or their slots are of two slabs */
}

int hl_snapshot_new(struct hl_store *store, size_t page_count,
                    const struct hl_snapshot *base,
                    const struct hl_edit *edits, size_t edit_count,
                    struct hl_snapshot **out)
{
    struct hl_snapshot *s = malloc(sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = (struct hl_snapshot){
        .page_count = page_count,
        .refs = 1,
        .height = height_for(page_count),
        .row = find_row(store, page_count, base, edits, edit_count),
    };
    int err = make_root(store, s->height, base ? base->root : 0, edits,
                        edit_count, &s->root);
    if (err < 0) {
        free(s);
        return err;
    }
    s->store = hl_store_ref(store);
    atomic_fetch_add(&alive, 1);
    *out = s;
    return 0;
}

struct hl_snapshot *hl_snapshot_ref(struct hl_snapshot *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

/* The lock is held until everything is dropped, milliseconds for a GiB.  The
 * store's own reference is dropped without the lock, which may end with it. */
void hl_snapshot_unref(struct hl_snapshot *s)
{
    if (hl_snapshot_unref_quick(s))
        return;
    hl_let_others_run();
    if (atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    hl_store_lock(s->store);
    drop_tree(s->store, s->root, s->height - 1);
    hl_store_trim_locked(s->store);
    hl_store_unlock(s->store);
    hl_store_unref(s->store);
    free(s);
    atomic_fetch_sub(&alive, 1);
}

/* Whether no more than *left pages and nodes, which are subtracted, go with
 * the last reference on this subtree.  A subtree that stays counts as one: to
 * drop a reference on it is one step. */
static bool is_small(struct hl_store *store, uint32_t number, int level,
                     size_t *left)
{
    if (number == 0 || *hl_nodes_refs(hl_store_nodes(store), number) > 1)
        return true;
    const struct hl_node *node = children(store, number);
    for (size_t w = 0; w < HL_NODE_WAYS; w++) {
        if (node->child[w] == 0)
            continue;
        if (*left == 0)
            return false;
        --*left;
        if (level > 0 && !is_small(store, node->child[w], level - 1, left))
            return false;
    }
    return true;
}

bool hl_snapshot_unref_quick(struct hl_snapshot *s)
{
    unsigned refs = atomic_load(&s->refs);
    size_t left = QUICK;

    /* Not subtracted blindly: from the last one there is no way back, if it
     * turns out that dropping the tree takes long. */
    while (refs > 1)
        if (atomic_compare_exchange_weak(&s->refs, &refs, refs - 1))
            return true;
    /* Nobody but the caller knows it any more. */
    if (!hl_store_try_lock(s->store))
        return false;
    bool quick = is_small(s->store, s->root, s->height - 1, &left) &&
                 hl_store_unref_quick_locked(s->store, QUICK);
    if (quick) {
        drop_tree(s->store, s->root, s->height - 1);
        hl_store_trim_locked(s->store);
    }
    hl_store_unlock(s->store);
    if (!quick)
        return false;
    free(s);
    atomic_fetch_sub(&alive, 1);
    return true;
}

struct hl_store *hl_snapshot_store(const struct hl_snapshot *s)
{
    return s->store;
}

size_t hl_snapshot_page_count(const struct hl_snapshot *s)
{
    return s->page_count;
}

const char *hl_snapshot_row(const struct hl_snapshot *s) { return s->row; }

/* The leaf that holds a page's slot; the empty one if a subtree above is 0. */
static const struct hl_node *leaf_of(const struct hl_snapshot *s, size_t page)
{
    uint32_t number = s->root;

    for (int level = s->height - 1; level > 0 && number != 0; level--)
        number = children(s->store, number)->child[way((uint32_t)page, level)];
    return children(s->store, number);
}

void hl_snapshot_slots(const struct hl_snapshot *s, size_t first, size_t count,
                       uint32_t *slots)
{
    for (size_t i = 0; i < count;) {
        const struct hl_node *leaf = leaf_of(s, first + i);
        for (size_t w = way((uint32_t)(first + i), 0);
             w < HL_NODE_WAYS && i < count; w++)
            slots[i++] = leaf->child[w];
    }
}

/* Two subtrees over the pages from `page` on.  Equal numbers are equal
 * content, since nodes and slots are never rewritten while somebody holds
 * them; that is why the walk costs what differs and not what there is.
 * Different numbers may hold equal bytes, which only diff_exact finds out. */
static void diff_trees(const struct hl_store *store, uint32_t a, uint32_t b,
                       int level, size_t page, struct hl_pages *found)
{
    if (a == b)
        return;
    const struct hl_node *one = children(store, a);
    const struct hl_node *two = children(store, b);
    size_t step = (size_t)1 << (level * HL_NODE_BITS);

    hl_spend(NODE_NS);
    for (size_t w = 0; w < HL_NODE_WAYS; w++, page += step) {
        if (one->child[w] == two->child[w])
            continue;
        if (level == 0)
            hl_pages_add(found, page);
        else
            diff_trees(store, one->child[w], two->child[w], level - 1, page,
                       found);
    }
}

void hl_snapshot_diff(const struct hl_snapshot *a, const struct hl_snapshot *b,
                      struct hl_pages *found)
{
    int top = a->height - 1;

    if (a->store == b->store) {
        diff_trees(a->store, a->root, b->root, top, 0, found);
        return;
    }
    /* Numbers of two stores mean nothing to each other: compare each with the
     * empty tree, which finds what is not zero in both. */
    diff_trees(a->store, a->root, 0, top, 0, found);
    diff_trees(b->store, 0, b->root, top, 0, found);
}

/* A walk for each page: fast enough for read and diff; no restore does it. */
static const void *page_of(const struct hl_snapshot *s, size_t page)
{
    uint32_t slot;
    hl_snapshot_slots(s, page, 1, &slot);
    return hl_store_page(s->store, slot);
}

static bool same_bytes(const void *a, const void *b, size_t size)
{
    if (a == NULL || b == NULL)
        return a == b || hl_is_zero(a ? a : b, size);
    return hl_equal(a, b, size);
}

void hl_snapshot_diff_exact(const struct hl_snapshot *a,
                            const struct hl_snapshot *b,
                            struct hl_pages *found)
{
    size_t size = hl_store_page_size(a->store);
    struct hl_run run;

    hl_spend(hl_pages_count(found) * HL_COST_LOOK * 2);
    for (size_t at = 0; hl_pages_run(found, &at, &run);)
        for (size_t page = run.first; page < run.first + run.count; page++)
            if (same_bytes(page_of(a, page), page_of(b, page), size))
                hl_pages_remove(found, page);
}

/* Bytes that go with the last reference on this subtree.  A slot that another
 * leaf holds stays, even if this leaf goes: a leaf that was copied for one
 * page shares its 15 others. */
static size_t owned_bytes(struct hl_store *store, uint32_t number, int level)
{
    if (number == 0 || *hl_nodes_refs(hl_store_nodes(store), number) > 1)
        return 0;
    const struct hl_node *node = children(store, number);
    size_t total = HL_NODE_BYTES;
    hl_spend(NODE_NS);
    for (size_t w = 0; w < HL_NODE_WAYS; w++) {
        uint32_t child = node->child[w];
        if (level > 0)
            total += owned_bytes(store, child, level - 1);
        else if (child != HL_SLOT_ZERO &&
                 !hl_store_is_shared_locked(store, child))
            total += hl_store_page_size(store);
    }
    return total;
}

size_t hl_snapshot_nbytes(const struct hl_snapshot *s)
{
    hl_store_lock(s->store);
    size_t total = owned_bytes(s->store, s->root, s->height - 1);
    hl_store_unlock(s->store);
    return total + sizeof *s;
}

void hl_snapshot_read(const struct hl_snapshot *s, size_t offset,
                      size_t length, void *dst)
{
    size_t size = hl_store_page_size(s->store);
    char *to = dst;

    hl_spend((length / size + 1) * HL_COST_LOOK);
    while (length > 0) {
        size_t skip = offset % size, n = size - skip;
        if (n > length)
            n = length;
        const char *page = page_of(s, offset / size);
        if (page)
            memcpy(to, page + skip, n);
        else
            memset(to, 0, n);
        to += n;
        offset += n;
        length -= n;
    }
}
