/* A program's files, by the calls that it makes. */
#ifndef HL_TESTS_LINUX_FILES_BED_H
#define HL_TESTS_LINUX_FILES_BED_H

#include "abi/linux/paths.h"
#include "linux_bed.h"

enum {
    READ,
    WRITE,
    OPEN,
    CLOSE,
    STAT,
    FSTAT,
    LSTAT,
    LSEEK = 8,
    MMAP,
    PREAD = 17,
    PWRITE,
    ACCESS = 21,
    DUP = 32,
    FSYNC = 74,
    TRUNCATE = 76,
    FTRUNCATE,
    GETCWD = 79,
    CHDIR,
    FCHDIR,
    RENAME,
    MKDIR,
    RMDIR,
    UNLINK = 87,
    SYMLINK,
    READLINK,
    CHMOD,
    UMASK = 95,
    GETDENTS64 = 217,
    OPENAT = 257,
    UTIMENSAT = 280,
    RENAMEAT2 = 316,
};

#define RDWR 2
#define CREAT HL_O_CREAT
#define TEXT DATA
#define OTHER (DATA + PAGE)
#define BUFFER (DATA + 2 * PAGE)

static inline uint64_t text(struct program *p, uint64_t addr, const char *path)
{
    strcpy(at(p, addr), path);
    return addr;
}

static inline int64_t by_name(struct program *p, uint64_t number,
                              const char *path, uint64_t a, uint64_t b)
{
    return CALL(p, number, text(p, TEXT, path), a, b);
}

static inline int64_t by_names(struct program *p, uint64_t number,
                               const char *one, const char *other)
{
    return CALL(p, number, text(p, TEXT, one), text(p, OTHER, other));
}

static inline int64_t open_file(struct program *p, const char *path,
                                uint64_t flags)
{
    return by_name(p, OPEN, path, flags, 0666);
}

static inline int64_t write_text(struct program *p, int64_t fd,
                                 const char *what)
{
    return CALL(p, WRITE, (uint64_t)fd, text(p, BUFFER, what), strlen(what));
}

static inline void make(struct program *p, const char *path, const char *what)
{
    int64_t fd = open_file(p, path, CREAT | HL_O_TRUNC | RDWR);

    CHECK(fd >= 0 && write_text(p, fd, what) == (int64_t)strlen(what));
    CHECK(CALL(p, CLOSE, (uint64_t)fd) == 0);
}

static inline bool holds(struct program *p, const char *path, const char *what)
{
    int64_t fd = open_file(p, path, 0);
    if (fd < 0)
        return false;
    int64_t size = CALL(p, READ, (uint64_t)fd, BUFFER, PAGE);
    CHECK(CALL(p, CLOSE, (uint64_t)fd) == 0);
    return size == (int64_t)strlen(what) &&
           memcmp(at(p, BUFFER), what, (size_t)size) == 0;
}

/* F1 to F3, as far as the tree shows. */
static inline void check_tree(const struct program *p)
{
    const struct hl_files *f = &p->linux_.files;
    const struct hl_tree *t = f->tree;
    uint64_t used[FILE_PAGES / 64 + 1] = {0};
    size_t listed = 0, named = 0;

    for (uint32_t n = 1; n < HL_TREE_NODES; n++) {
        const struct hl_tree_node *node = &t->nodes[n];
        CHECK(node->kind != HL_TREE_FREE || n >= t->free_node);
        if (node->kind == HL_TREE_FREE)
            continue;
        named += n != HL_TREE_ROOT && node->parent != 0;
        CHECK(node->parent != 0 || node->opens > 0);
        for (uint32_t c = node->child; c; c = t->nodes[c].next, listed++)
            CHECK(t->nodes[c].parent == n &&
                  hl_tree_child(f, n, t->nodes[c].name,
                                t->nodes[c].name_size) == c);
        CHECK(node->kind != HL_TREE_FOLDER || node->room == 0);
        CHECK(node->content || node->source ||
              node->size <= node->room * HL_TREE_PAGE);
        for (uint64_t i = node->first; i < node->first + node->room; i++) {
            CHECK(i < FILE_PAGES && !(used[i / 64] >> i % 64 & 1));
            used[i / 64] |= UINT64_C(1) << i % 64;
        }
        const char *data = f->data + node->first * HL_TREE_PAGE;
        for (uint64_t i = node->size;
             !node->content && i < node->room * HL_TREE_PAGE; i++)
            CHECK(data[i] == 0);
    }
    CHECK(listed == named);
    for (size_t i = 0; i < FILE_PAGES; i++) {
        bool is_used = used[i / 64] >> i % 64 & 1;
        CHECK((f->used[i / 64] >> i % 64 & 1) == is_used);
        for (size_t j = 0; !is_used && j < HL_TREE_PAGE; j++)
            CHECK(f->data[i * HL_TREE_PAGE + j] == 0);
    }
}

#endif
