#include "abi/linux/given.h"

#include <stdlib.h>
#include <string.h>

static struct hl_tree_node *change(struct hl_linux *l, uint32_t node)
{
    return hl_tree_change(&l->files, node);
}

/* To the tree, what is given is made by the program; only the host may put
 * something into a fixed folder, and that changes no time. */
int hl_linux_give(struct hl_linux *l, uint32_t folder,
                  const struct hl_linux_given *g, uint32_t *out)
{
    const struct hl_tree_node was = l->files.tree->nodes[folder];

    if (was.kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    if (hl_tree_child(&l->files, folder, g->name, g->name_size))
        return -EEXIST;
    change(l, folder)->fixed = false;
    int err = hl_tree_add(&l->files, folder, g->name, g->name_size, g->kind,
                          g->mode, g->changed, out);
    struct hl_tree_node *parent = change(l, folder);
    parent->fixed = was.fixed;
    parent->changed = was.changed;
    if (err < 0)
        return err;
    struct hl_tree_node *n = change(l, *out);
    n->fixed = g->fixed;
    n->source = g->source;
    n->size = g->size;
    return 0;
}

/* The same bytes are one content, however often they are given. */
static int add_content(struct hl_files *f, const void *bytes, size_t size,
                       uint64_t *content)
{
    for (size_t i = f->content_count; i-- > 0;)
        if (f->contents[i].bytes == bytes && f->contents[i].size == size) {
            *content = i + 1;
            return 0;
        }
    if (f->content_count == f->content_room) {
        size_t room = f->content_room ? 2 * f->content_room : 64;
        struct hl_tree_content *more =
            realloc(f->contents, room * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        f->contents = more;
        f->content_room = room;
    }
    f->contents[f->content_count++] = (struct hl_tree_content){bytes, size};
    *content = f->content_count;
    return 0;
}

int hl_linux_give_bytes(struct hl_linux *l, uint32_t node, const void *bytes,
                        size_t size)
{
    uint64_t content = 0;

    int err = size ? add_content(&l->files, bytes, size, &content) : 0;
    if (err < 0)
        return err;
    struct hl_tree_node *n = change(l, node);
    n->content = content;
    n->size = size;
    n->source = 0;
    return 0;
}

int hl_linux_give_copy(struct hl_linux *l, uint32_t node, const void *bytes,
                       size_t size)
{
    char *to;

    hl_tree_empty(&l->files, node);
    int err = hl_tree_write(&l->files, node, 0, size, hl_linux_now(l), &to);
    if (err == 0 && size > 0)
        memcpy(to, bytes, size);
    return err;
}

void hl_linux_answer(struct hl_linux *l, int err, bool again)
{
    if (l->ask.node && err == 0 && !again)
        change(l, l->ask.node)->source = 0;
    l->answered_node = again || err < 0 ? l->ask.node : 0;
    l->refusal = err;
    l->ask = (struct hl_linux_ask){0};
}

int hl_linux_need(struct hl_linux *l, uint32_t node)
{
    const struct hl_tree_node *n = &l->files.tree->nodes[node];

    if (n->kind == HL_TREE_DEVICE || n->source == 0)
        return 0;
    if (l->answered_node == node)
        return l->refusal;
    l->ask = (struct hl_linux_ask){node, n->source};
    return HL_LINUX_ASKS;
}
