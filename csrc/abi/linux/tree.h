/* The files that a program sees: a tree in tracked memory, out of its reach.
 *
 *  F1. All of it lies in the struct and in the pages behind it, so a restore
 *      puts it back; but the bytes of contents, which never change and are the
 *      host's (hl_linux_content).
 *  F2. Pages of data that no file has are zero, and so is what a file has of
 *      them behind its end.
 *  F3. A name leads to one node and a node has one name, or none: removed
 *      while it is open.  There are no hard links.
 *
 * Every function that can fail changes nothing then. */
#ifndef HL_ABI_LINUX_TREE_H
#define HL_ABI_LINUX_TREE_H

#include "base.h"
#include "vm/window.h"

#define HL_TREE_NODES 16384
#define HL_TREE_NAME 255
#define HL_TREE_ROOT 1u
#define HL_TREE_PAGE ((size_t)4096)

enum hl_tree_kind {
    HL_TREE_FREE,
    HL_TREE_FOLDER,
    HL_TREE_FILE,
    HL_TREE_LINK,   /* its data is where it leads */
    HL_TREE_DEVICE, /* the source says which */
};

struct hl_tree_node {
    uint32_t kind;                /* enum hl_tree_kind */
    uint32_t mode;                /* 0 to 07777 */
    uint32_t parent, next, child; /* nodes; 0: none */
    uint32_t opens;
    uint64_t size;
    uint64_t first, room; /* pages of its data */
    uint64_t content;     /* 1 + the index of its bytes; 0: it has pages */
    uint64_t changed;     /* when: ns since 1970 */
    uint32_t fixed;       /* it cannot be written to, nor what is in it */
    uint32_t source;      /* who knows the rest of it; 0: it is all here */
    uint32_t name_size;
    uint32_t unused;
    char name[HL_TREE_NAME + 1];
};

struct hl_tree {
    uint64_t page_count; /* of data, from HL_TREE_DATA of this struct on */
    uint64_t free_node;  /* none below it is free */
    struct hl_tree_node nodes[HL_TREE_NODES];
};

/* Bytes that files can have as they are. */
struct hl_tree_content {
    const void *bytes;
    size_t size;
};

/* A tree, and what its functions need. */
struct hl_files {
    const struct hl_window *window;
    struct hl_tree *tree;
    uint64_t *used; /* a bit for each page of data, in tracked memory */
    char *data;
    struct hl_tree_content *contents; /* freed by the owner */
    size_t content_count, content_room;
};

/* How much memory a tree with that many pages of data takes. */
size_t hl_tree_size(size_t page_count);

/* A tree with a root and nothing in it, in zeroed memory of that size. */
void hl_tree_init(struct hl_files *files, const struct hl_window *window,
                  void *memory, size_t page_count, uint64_t now);

/* The node of that name in a folder, or 0. */
uint32_t hl_tree_child(const struct hl_files *files, uint32_t folder,
                       const char *name, size_t size);

/* A new node.  The name is one that can be: no slash, not "." or "..".
 * -ENOSPC: no node is left; -EROFS; -ENOENT: the folder was removed. */
int hl_tree_add(struct hl_files *files, uint32_t folder, const char *name,
                size_t size, enum hl_tree_kind kind, uint32_t mode,
                uint64_t now, uint32_t *out) HL_MUST_CHECK;

/* A file without a name, open once: it goes when that is closed.  -ENOSPC. */
int hl_tree_add_nameless(struct hl_files *files, uint32_t *out) HL_MUST_CHECK;

/* Take its name away; it goes when nobody has it open.  -ENOTEMPTY, -EBUSY:
 * the root, -EROFS. */
int hl_tree_remove(struct hl_files *files, uint32_t node,
                   uint64_t now) HL_MUST_CHECK;

/* Another name in another folder, in the place of what has it.  -EINVAL: into
 * itself; -EISDIR, -ENOTDIR, -ENOTEMPTY: not in that one's place. */
int hl_tree_move(struct hl_files *files, uint32_t node, uint32_t folder,
                 const char *name, size_t size, uint64_t now) HL_MUST_CHECK;

/* One more has it open, or one less. */
void hl_tree_open(struct hl_files *files, uint32_t node);
void hl_tree_close(struct hl_files *files, uint32_t node);

/* Before a node is changed: W2. */
struct hl_tree_node *hl_tree_change(const struct hl_files *files,
                                    uint32_t node);

/* Data of a file or a link.  Where [at, +*size) lies in the host's memory, as
 * far as there is any: *size is made less; NULL and 0: nothing is there. */
const char *hl_tree_read(const struct hl_files *files, uint32_t node,
                         uint64_t at, size_t *size);

/* The same for writing; the file grows to it, and what is between is zero.
 * -ENOSPC, -EFBIG. */
int hl_tree_write(struct hl_files *files, uint32_t node, uint64_t at,
                  size_t size, uint64_t now, char **to) HL_MUST_CHECK;
int hl_tree_resize(struct hl_files *files, uint32_t node, uint64_t size,
                   uint64_t now) HL_MUST_CHECK;
void hl_tree_empty(struct hl_files *files, uint32_t node);

#endif
