/* From the names that a program says to nodes of its tree. */
#ifndef HL_ABI_LINUX_PATHS_H
#define HL_ABI_LINUX_PATHS_H

#include "abi/linux/process.h"

#define HL_LINUX_PATH 4096
#define HL_LINUX_HERE UINT64_C(0xffffff9c) /* AT_FDCWD, of 32 bits */

/* Where a path leads. */
struct hl_linux_place {
    uint32_t node;   /* 0: there is no such name in... */
    uint32_t folder; /* ...this folder; 0: the path ends in "." or ".." */
    bool as_folder;  /* a slash follows */
    size_t size;
    char name[HL_TREE_NAME + 1]; /* the last one, with a NUL */
};

/* Read a path of the guest's once, and follow it from the folder of this
 * descriptor.  follows: also where a link is its last name.  -errno as the
 * program gets it; a last name that is not there is no error. */
int hl_linux_find(struct hl_linux *linux_, uint64_t from, uint64_t path,
                  bool follows, struct hl_linux_place *place) HL_MUST_CHECK;
/* The same, but it is one: -ENOENT. */
int hl_linux_find_node(struct hl_linux *linux_, uint64_t from, uint64_t path,
                       bool follows,
                       struct hl_linux_place *place) HL_MUST_CHECK;

/* A path of the guest's into text[HL_LINUX_PATH]; its length, or -EFAULT,
 * -ENAMETOOLONG. */
int64_t hl_linux_get_path(const struct hl_linux *linux_, uint64_t path,
                          char *text);

#endif
