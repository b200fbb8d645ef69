#include "abi/linux/paths.h"

#include <string.h>

#include "abi/linux/given.h"

#define MOST_LINKS 40
#define MOST_NAMES (HL_LINUX_PATH / 2) /* with those in links */

/* A walk along a path; `text` is what is left of it. */
struct walk {
    struct hl_linux *linux_;
    const struct hl_files *files;
    uint32_t node;
    int links, names;
    char text[HL_LINUX_PATH];
};

static const struct hl_tree_node *node_of(const struct walk *w, uint32_t node)
{
    return &w->files->tree->nodes[node];
}

/* Byte by byte, since it may end right before what cannot be read. */
int64_t hl_linux_get_path(const struct hl_linux *l, uint64_t path, char *text)
{
    for (int64_t n = 0; n < HL_LINUX_PATH; n++) {
        const char *at = hl_window_read(&l->window, path + (uint64_t)n, 1);
        if (at == NULL)
            return -EFAULT;
        text[n] = *at;
        if (text[n] == '\0')
            return n;
    }
    return -ENAMETOOLONG;
}

/* The link's text and then the rest. */
static int follow(struct walk *w, uint32_t link, const char *rest,
                  bool as_folder)
{
    char text[HL_LINUX_PATH];
    size_t size = HL_LINUX_PATH, left = strlen(rest);
    const char *target = hl_tree_read(w->files, link, 0, &size);

    if (++w->links > MOST_LINKS)
        return -ELOOP;
    if (size == 0) /* as the path that it stands for */
        return -ENOENT;
    if (size + 1 + left + 1 > sizeof text)
        return -ENAMETOOLONG;
    memcpy(text, target, size);
    text[size] = '/';
    memcpy(text + size + 1, rest, left + 1);
    if (left == 0 && !as_folder)
        text[size] = '\0';
    memcpy(w->text, text, sizeof text);
    return 0;
}

static int to_parent(struct walk *w)
{
    w->node = node_of(w, w->node)->parent;
    return w->node ? 0 : -ENOENT; /* it was removed */
}

/* One name.  Returns 1 where it was the last, and *place is filled in. */
static int step(struct walk *w, const char *name, size_t size,
                const char *rest, bool follows, struct hl_linux_place *place)
{
    bool last = *rest == '\0';

    if (node_of(w, w->node)->kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    if (size > HL_TREE_NAME)
        return -ENAMETOOLONG;
    if (size == 2 && memcmp(name, "..", 2) == 0)
        return to_parent(w);
    if (size == 1 && *name == '.')
        return 0;
    int err = hl_linux_need(w->linux_, w->node);
    if (err < 0)
        return err;
    uint32_t child = hl_tree_child(w->files, w->node, name, size);
    if (child == 0 && !last)
        return -ENOENT;
    if (child && node_of(w, child)->kind == HL_TREE_LINK &&
        (!last || follows || place->as_folder))
        return follow(w, child, rest, place->as_folder);
    if (last) {
        place->folder = w->node;
        place->size = size;
        memcpy(place->name, name, size);
        place->name[size] = '\0';
        place->node = child;
        return 1;
    }
    w->node = child;
    return 0;
}

static int walk(struct walk *w, bool follows, struct hl_linux_place *place)
{
    char name[HL_LINUX_PATH];
    size_t size;

    for (;;) {
        if (w->text[0] == '/')
            w->node = HL_TREE_ROOT;
        for (const char *at = w->text;;) {
            at += strspn(at, "/");
            size = strcspn(at, "/");
            if (size == 0) { /* it ended in a dot, or in slashes */
                place->node = w->node;
                place->folder = 0;
                return 0;
            }
            if (++w->names > MOST_NAMES)
                return -ELOOP;
            memcpy(name, at, size);
            const char *rest = at + size;
            rest += strspn(rest, "/");
            int links = w->links;
            place->as_folder = *rest == '\0' && rest != at + size;
            int err = step(w, name, size, rest, follows, place);
            if (err != 0)
                return err < 0 ? err : 0;
            if (w->links != links) /* a new text */
                break;
            at = rest;
        }
    }
}

static int begin_at(const struct hl_linux *l, uint64_t from, bool absolute,
                    uint32_t *node)
{
    *node = HL_TREE_ROOT;
    if (absolute)
        return 0;
    *node = l->process->folder;
    if ((uint32_t)from == HL_LINUX_HERE)
        return 0;
    *node = hl_linux_node_of(l, from);
    if (*node == 0)
        return -EBADF;
    return l->files.tree->nodes[*node].kind == HL_TREE_FOLDER ? 0 : -ENOTDIR;
}

int hl_linux_find(struct hl_linux *l, uint64_t from, uint64_t path,
                  bool follows, struct hl_linux_place *place)
{
    struct walk w = {.linux_ = l, .files = &l->files};
    int64_t length = hl_linux_get_path(l, path, w.text);

    memset(place, 0, sizeof *place);
    if (length <= 0)
        return length < 0 ? (int)length : -ENOENT;
    int err = begin_at(l, from, w.text[0] == '/', &w.node);
    if (err == 0)
        err = walk(&w, follows, place);
    if (err < 0)
        return err;
    if (place->node && place->as_folder &&
        l->files.tree->nodes[place->node].kind != HL_TREE_FOLDER)
        return -ENOTDIR;
    return 0;
}

int hl_linux_find_node(struct hl_linux *l, uint64_t from, uint64_t path,
                       bool follows, struct hl_linux_place *place)
{
    int err = hl_linux_find(l, from, path, follows, place);

    return err == 0 && place->node == 0 ? -ENOENT : err;
}
