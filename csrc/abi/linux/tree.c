#include "abi/linux/tree.h"

#include <string.h>

static const struct hl_tree_node *at(const struct hl_files *f, uint32_t node)
{
    return &f->tree->nodes[node];
}

static size_t bitmap_size(size_t page_count)
{
    return (page_count + 63) / 64 * sizeof(uint64_t);
}

static size_t in_pages(size_t size)
{
    return (size + HL_TREE_PAGE - 1) / HL_TREE_PAGE * HL_TREE_PAGE;
}

size_t hl_tree_size(size_t page_count)
{
    return in_pages(sizeof(struct hl_tree) + bitmap_size(page_count)) +
           page_count * HL_TREE_PAGE;
}

void hl_tree_init(struct hl_files *f, const struct hl_window *window,
                  void *memory, size_t page_count, uint64_t now)
{
    struct hl_tree *tree = memory;
    size_t before = in_pages(sizeof *tree + bitmap_size(page_count));

    *f = (struct hl_files){
        .window = window,
        .tree = tree,
        .used = (uint64_t *)(void *)((char *)memory + sizeof *tree),
        .data = (char *)memory + before,
    };
    hl_window_own(window, memory, sizeof *tree);
    tree->page_count = page_count;
    tree->free_node = HL_TREE_ROOT + 1;
    tree->nodes[HL_TREE_ROOT] = (struct hl_tree_node){
        .kind = HL_TREE_FOLDER,
        .mode = 0755,
        .parent = HL_TREE_ROOT,
        .changed = now,
    };
}

uint32_t hl_tree_child(const struct hl_files *f, uint32_t folder,
                       const char *name, size_t size)
{
    uint32_t node = at(f, folder)->child;

    while (node && (at(f, node)->name_size != size ||
                    memcmp(at(f, node)->name, name, size) != 0))
        node = at(f, node)->next;
    return node;
}

static uint32_t find_free(const struct hl_files *f)
{
    uint64_t node = f->tree->free_node;

    while (node < HL_TREE_NODES && f->tree->nodes[node].kind != HL_TREE_FREE)
        node++;
    return node < HL_TREE_NODES ? (uint32_t)node : 0;
}

static void note_free(const struct hl_files *f, uint64_t node)
{
    hl_window_own(f->window, &f->tree->free_node, sizeof f->tree->free_node);
    f->tree->free_node = node;
}

static void set_name(struct hl_tree_node *n, const char *name, size_t size)
{
    memset(n->name, 0, sizeof n->name);
    memcpy(n->name, name, size);
    n->name_size = (uint32_t)size;
}

/* As the first of the folder's. */
static void link_in(struct hl_files *f, uint32_t node, uint32_t folder,
                    uint64_t now)
{
    struct hl_tree_node *parent = hl_tree_change(f, folder);
    struct hl_tree_node *n = hl_tree_change(f, node);

    n->parent = folder;
    n->next = parent->child;
    parent->child = node;
    parent->changed = now;
}

static void link_out(struct hl_files *f, uint32_t node, uint64_t now)
{
    struct hl_tree_node *n = hl_tree_change(f, node);
    struct hl_tree_node *parent = hl_tree_change(f, n->parent);
    uint32_t before = parent->child;

    parent->changed = now;
    if (before == node) {
        parent->child = n->next;
    } else {
        while (at(f, before)->next != node)
            before = at(f, before)->next;
        hl_tree_change(f, before)->next = n->next;
    }
    n->parent = n->next = 0;
}

int hl_tree_add(struct hl_files *f, uint32_t folder, const char *name,
                size_t size, enum hl_tree_kind kind, uint32_t mode,
                uint64_t now, uint32_t *out)
{
    uint32_t node = find_free(f);

    if (at(f, folder)->parent == 0)
        return -ENOENT;
    if (at(f, folder)->fixed)
        return -EROFS;
    if (node == 0)
        return -ENOSPC;
    struct hl_tree_node *n = hl_tree_change(f, node);
    *n = (struct hl_tree_node){
        .kind = kind,
        .mode = mode & 07777,
        .changed = now,
    };
    set_name(n, name, size);
    link_in(f, node, folder, now);
    note_free(f, node + 1);
    *out = node;
    return 0;
}

int hl_tree_add_nameless(struct hl_files *f, uint32_t *out)
{
    uint32_t node = find_free(f);

    if (node == 0)
        return -ENOSPC;
    *hl_tree_change(f, node) = (struct hl_tree_node){
        .kind = HL_TREE_FILE,
        .opens = 1,
    };
    note_free(f, node + 1);
    *out = node;
    return 0;
}

/* Nobody knows it any more. */
static void let_go(struct hl_files *f, uint32_t node)
{
    if (at(f, node)->kind != HL_TREE_FOLDER)
        hl_tree_empty(f, node);
    *hl_tree_change(f, node) = (struct hl_tree_node){0};
    if (node < f->tree->free_node)
        note_free(f, node);
}

static int may_remove(const struct hl_files *f, uint32_t node)
{
    if (node == HL_TREE_ROOT)
        return -EBUSY;
    if (at(f, at(f, node)->parent)->fixed)
        return -EROFS;
    if (at(f, node)->fixed) /* as what is mounted there */
        return -EBUSY;
    return at(f, node)->child ? -ENOTEMPTY : 0;
}

int hl_tree_remove(struct hl_files *f, uint32_t node, uint64_t now)
{
    int err = may_remove(f, node);
    if (err < 0)
        return err;
    link_out(f, node, now);
    if (at(f, node)->opens == 0)
        let_go(f, node);
    return 0;
}

static bool is_within(const struct hl_files *f, uint32_t node, uint32_t folder)
{
    while (node != folder && node != HL_TREE_ROOT && node != 0)
        node = at(f, node)->parent;
    return node == folder;
}

int hl_tree_move(struct hl_files *f, uint32_t node, uint32_t folder,
                 const char *name, size_t size, uint64_t now)
{
    uint32_t old = hl_tree_child(f, folder, name, size);
    bool is_folder = at(f, node)->kind == HL_TREE_FOLDER;

    if (node == HL_TREE_ROOT ||
        (at(f, node)->fixed && !at(f, at(f, node)->parent)->fixed))
        return -EBUSY;
    if (at(f, folder)->parent == 0)
        return -ENOENT;
    if (is_within(f, folder, node))
        return -EINVAL;
    if (old == node)
        return 0;
    if (at(f, folder)->fixed || at(f, at(f, node)->parent)->fixed)
        return -EROFS;
    if (old) {
        if ((at(f, old)->kind == HL_TREE_FOLDER) != is_folder)
            return is_folder ? -ENOTDIR : -EISDIR;
        int err = hl_tree_remove(f, old, now);
        if (err < 0)
            return err;
    }
    link_out(f, node, now);
    set_name(hl_tree_change(f, node), name, size);
    link_in(f, node, folder, now);
    return 0;
}

void hl_tree_open(struct hl_files *f, uint32_t node)
{
    hl_tree_change(f, node)->opens++;
}

void hl_tree_close(struct hl_files *f, uint32_t node)
{
    struct hl_tree_node *n = hl_tree_change(f, node);

    if (--n->opens == 0 && n->parent == 0)
        let_go(f, node);
}
