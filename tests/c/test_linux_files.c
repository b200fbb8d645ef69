/* Files and folders of a program, against a model of them. */
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

static uint64_t text(struct program *p, uint64_t addr, const char *path)
{
    strcpy(at(p, addr), path);
    return addr;
}

static int64_t by_name(struct program *p, uint64_t number, const char *path,
                       uint64_t a, uint64_t b)
{
    return CALL(p, number, text(p, TEXT, path), a, b);
}

static int64_t by_names(struct program *p, uint64_t number, const char *one,
                        const char *other)
{
    return CALL(p, number, text(p, TEXT, one), text(p, OTHER, other));
}

static int64_t open_file(struct program *p, const char *path, uint64_t flags)
{
    return by_name(p, OPEN, path, flags, 0666);
}

static int64_t write_text(struct program *p, int64_t fd, const char *what)
{
    return CALL(p, WRITE, (uint64_t)fd, text(p, BUFFER, what), strlen(what));
}

static void make(struct program *p, const char *path, const char *what)
{
    int64_t fd = open_file(p, path, CREAT | HL_O_TRUNC | RDWR);

    CHECK(fd >= 0 && write_text(p, fd, what) == (int64_t)strlen(what));
    CHECK(CALL(p, CLOSE, (uint64_t)fd) == 0);
}

static bool holds(struct program *p, const char *path, const char *what)
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
static void check_tree(const struct program *p)
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
        CHECK(node->content || node->size <= node->room * HL_TREE_PAGE);
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

static void files_keep_what_is_written(void)
{
    struct program *p = begin();
    int64_t fd = open_file(p, "/a", CREAT | RDWR);

    CHECK(fd == 3 && write_text(p, fd, "hello") == 5);
    CHECK(CALL(p, LSEEK, 3, 1, 0) == 1 && CALL(p, READ, 3, BUFFER, 9) == 4);
    CHECK(memcmp(at(p, BUFFER), "ello", 4) == 0);
    CHECK(CALL(p, LSEEK, 3, (uint64_t)-2, 2) == 3);
    CHECK(write_text(p, fd, "p!") == 2 && holds(p, "/a", "help!"));
    CHECK(CALL(p, LSEEK, 3, (uint64_t)-9, 1) == -EINVAL);
    CHECK(CALL(p, LSEEK, 3, 0, 7) == -EINVAL);
    *at(p, BUFFER) = 'x';
    CHECK(CALL(p, PWRITE, 3, BUFFER, 1, 3 * PAGE) == 1);
    CHECK(CALL(p, LSEEK, 3, 0, 2) == (int64_t)(3 * PAGE + 1));
    CHECK(CALL(p, PREAD, 3, BUFFER, 4, 2 * PAGE) == 4); /* a hole */
    CHECK(memcmp(at(p, BUFFER), "\0\0\0", 4) == 0);
    CHECK(CALL(p, PREAD, 3, BUFFER, 4, UINT64_MAX) == -EINVAL);
    CHECK(CALL(p, FTRUNCATE, 3, 2) == 0 && holds(p, "/a", "he"));
    CHECK(CALL(p, FTRUNCATE, 3, 4) == 0);
    CHECK(CALL(p, PREAD, 3, BUFFER, 9, 0) == 4);
    CHECK(memcmp(at(p, BUFFER), "he\0", 4) == 0);
    CHECK(CALL(p, FTRUNCATE, 3, UINT64_MAX) == -EINVAL);
    CHECK(CALL(p, FTRUNCATE, 3, INT64_MAX) == -ENOSPC);
    CHECK(CALL(p, FSYNC, 3) == 0 && CALL(p, FSYNC, 1) == -EINVAL);
    CHECK(CALL(p, CLOSE, 3) == 0);
    fd = open_file(p, "/a", 1 | HL_O_APPEND);
    CHECK(CALL(p, READ, 3, BUFFER, 1) == -EBADF);
    CHECK(write_text(p, fd, "z") == 1 && CALL(p, LSEEK, 3, 0, 1) == 5);
    CHECK(open_file(p, "/a", 0) == 4 && write_text(p, 4, "no") == -EBADF);
    CHECK(by_name(p, TRUNCATE, "/a", 1, 0) == 0 && holds(p, "/a", "h"));
    check_tree(p);
    end(p);
}

static void no_room_is_an_error(void)
{
    struct program *p = begin();

    make(p, "/a", "a");
    make(p, "/b", "b");
    CHECK(open_file(p, "/a", RDWR) == 3);
    CHECK(CALL(p, FTRUNCATE, 3, FILE_PAGES * PAGE) == -ENOSPC);
    CHECK(CALL(p, FTRUNCATE, 3, (FILE_PAGES - 1) * PAGE) == -ENOSPC);
    check_tree(p); /* it could not be moved: but to what was free */
    CHECK(CALL(p, FTRUNCATE, 3, (FILE_PAGES - 2) * PAGE) == 0);
    CHECK(holds(p, "/b", "b") && open_file(p, "/c", CREAT | RDWR) == 4);
    CHECK(write_text(p, 4, "c") == 1); /* where the first one was */
    CHECK(open_file(p, "/d", CREAT | RDWR) == 5);
    CHECK(write_text(p, 5, "d") == -ENOSPC);
    CHECK(CALL(p, FTRUNCATE, 3, 1) == 0 && write_text(p, 5, "d") == 1);
    CHECK(holds(p, "/a", "a") && holds(p, "/c", "c") && holds(p, "/d", "d"));
    check_tree(p);
    end(p);
}

static void paths_lead_where_they_should(void)
{
    static const struct {
        const char *path;
        int64_t result;
    } cases[] = {
        {"/d/e/f", 0},
        {"/d/../d/./e//f", 0},
        {"/../../d/e/f", 0},
        {"/d/e/f/", -ENOTDIR},
        {"/d/e/f/..", -ENOTDIR},
        {"/d/e/g", -ENOENT},
        {"/d/x/../e/f", -ENOENT},
        {"", -ENOENT},
        {"/to-f", 0},
        {"/to-f/", -ENOTDIR},
        {"/to-d/e/f", 0},
        {"/to-d/e/", 0},
        {"/loop", -ELOOP},
        {"/self", -ELOOP},
        {"/nowhere", -ENOENT},
        {"/d/up/d/e/f", 0},
    };
    struct program *p = begin();
    char longest[300];

    CHECK(by_name(p, MKDIR, "/d", 0777, 0) == 0);
    CHECK(by_name(p, MKDIR, "/d/e/", 0777, 0) == 0);
    make(p, "/d/e/f", "f");
    CHECK(by_names(p, SYMLINK, "d/e/f", "/to-f") == 0);
    CHECK(by_names(p, SYMLINK, "/d", "/to-d") == 0);
    CHECK(by_names(p, SYMLINK, "/loop2", "/loop") == 0);
    CHECK(by_names(p, SYMLINK, "/loop", "/loop2") == 0);
    CHECK(by_names(p, SYMLINK, "self/x", "/self") == 0);
    CHECK(by_names(p, SYMLINK, "gone", "/nowhere") == 0);
    CHECK(by_names(p, SYMLINK, "..", "/d/up") == 0);
    for (size_t i = 0; i < HL_ARRAY_SIZE(cases); i++) {
        int64_t got = by_name(p, STAT, cases[i].path, BUFFER, 0);
        if (got != cases[i].result)
            fprintf(stderr, "%s: %lld\n", cases[i].path, (long long)got);
        CHECK(got == cases[i].result);
    }
    memset(longest, 'n', sizeof longest);
    longest[0] = '/';
    longest[256] = '\0';
    make(p, longest, "long");
    CHECK(holds(p, longest, "long"));
    longest[256] = 'n';
    longest[257] = '\0';
    CHECK(open_file(p, longest, CREAT | RDWR) == -ENAMETOOLONG);
    CHECK(by_name(p, LSTAT, "/loop", BUFFER, 0) == 0);
    CHECK(by_name(p, READLINK, "/to-f", BUFFER, 3) == 3);
    CHECK(memcmp(at(p, BUFFER), "d/e", 3) == 0);
    CHECK(by_name(p, READLINK, "/d", BUFFER, 3) == -EINVAL);
    CHECK(open_file(p, "/nowhere", CREAT | RDWR) >= 0); /* makes /gone */
    CHECK(by_name(p, STAT, "/gone", BUFFER, 0) == 0);
    CHECK(open_file(p, "/to-f", CREAT | HL_O_EXCL | RDWR) == -EEXIST);
    CHECK(open_file(p, "/to-f", HL_O_NOFOLLOW) == -ELOOP);
    CHECK(open_file(p, "/d", RDWR) == -EISDIR);
    CHECK(open_file(p, "/to-f", HL_O_DIRECTORY) == -ENOTDIR);
    check_tree(p);
    end(p);
}

static void folders_are_where_one_is(void)
{
    struct program *p = begin();

    CHECK(by_name(p, MKDIR, "/d", 0777, 0) == 0);
    CHECK(by_name(p, CHDIR, "/d", 0, 0) == 0);
    make(p, "f", "f");
    CHECK(holds(p, "/d/f", "f"));
    CHECK(CALL(p, GETCWD, BUFFER, 99) == 3);
    CHECK(strcmp(at(p, BUFFER), "/d") == 0);
    CHECK(CALL(p, GETCWD, BUFFER, 2) == -ERANGE);
    CHECK(by_name(p, CHDIR, "f", 0, 0) == -ENOTDIR);
    int64_t fd = open_file(p, ".", HL_O_DIRECTORY);
    CHECK(fd == 3 && CALL(p, READ, 3, BUFFER, 9) == -EISDIR);
    CHECK(by_name(p, CHDIR, "..", 0, 0) == 0 && CALL(p, FCHDIR, 3) == 0);
    CHECK(CALL(p, FCHDIR, 1) == -ENOTDIR && CALL(p, FCHDIR, 77) == -EBADF);
    CHECK(CALL(p, OPENAT, 3, text(p, TEXT, "f"), 0) == 4);
    CHECK(CALL(p, OPENAT, 4, text(p, TEXT, "f"), 0) == -ENOTDIR);
    CHECK(CALL(p, OPENAT, 9, text(p, TEXT, "f"), 0) == -EBADF);
    CHECK(by_name(p, RMDIR, "/d", 0, 0) == -ENOTEMPTY);
    CHECK(by_name(p, UNLINK, "f", 0, 0) == 0);
    CHECK(by_name(p, UNLINK, "/d", 0, 0) == -EISDIR);
    CHECK(by_name(p, RMDIR, "/d", 0, 0) == 0); /* where it is */
    CHECK(CALL(p, GETCWD, BUFFER, 99) == -ENOENT);
    CHECK(open_file(p, "g", CREAT | RDWR) == -ENOENT);
    CHECK(by_name(p, STAT, "..", BUFFER, 0) == -ENOENT);
    CHECK(by_name(p, CHDIR, "/", 0, 0) == 0);
    check_tree(p);
    CHECK(CALL(p, CLOSE, 3) == 0 && CALL(p, CLOSE, 4) == 0);
    check_tree(p);
    CHECK(by_name(p, RMDIR, "/", 0, 0) == -EBUSY);
    end(p);
}

static void removed_files_live_while_they_are_open(void)
{
    struct program *p = begin();

    make(p, "/a", "aaa");
    CHECK(open_file(p, "/a", RDWR) == 3 && CALL(p, DUP, 3) == 4);
    CHECK(by_name(p, UNLINK, "/a", 0, 0) == 0 && !holds(p, "/a", "aaa"));
    CHECK(CALL(p, CLOSE, 3) == 0);
    check_tree(p);
    CHECK(CALL(p, READ, 4, BUFFER, 9) == 3 && write_text(p, 4, "more") == 4);
    CHECK(CALL(p, CLOSE, 4) == 0);
    check_tree(p);
    for (size_t i = 0; i < FILE_PAGES; i++)
        CHECK(!(p->linux_.files.used[i / 64] >> i % 64 & 1));
    end(p);
}

/* Neighbours in a folder need not lie side by side. */
static void nodes_far_apart_are_told_of(void)
{
    struct program *p = begin();
    char path[16];

    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "/%d", i);
        make(p, path, "");
    }
    for (int i = 35; i > 3; i--) {
        snprintf(path, sizeof path, "/%d", i);
        CHECK(by_name(p, UNLINK, path, 0, 0) == 0);
    }
    check_tree(p);
    end(p);
}

static void names_change(void)
{
    struct program *p = begin();

    CHECK(by_name(p, MKDIR, "/d", 0777, 0) == 0);
    CHECK(by_name(p, MKDIR, "/d/e", 0777, 0) == 0);
    make(p, "/a", "a");
    make(p, "/b", "b");
    CHECK(by_names(p, RENAME, "/a", "/d/a") == 0 && holds(p, "/d/a", "a"));
    CHECK(by_names(p, RENAME, "/d/a", "/b") == 0 && holds(p, "/b", "a"));
    CHECK(by_names(p, RENAME, "/b", "/b") == 0 && holds(p, "/b", "a"));
    CHECK(by_names(p, RENAME, "/b", "/d") == -EISDIR);
    CHECK(by_names(p, RENAME, "/d", "/b") == -ENOTDIR);
    CHECK(by_names(p, RENAME, "/d", "/d/e/d") == -EINVAL);
    CHECK(by_names(p, RENAME, "/d", "/d") == 0);
    CHECK(by_names(p, RENAME, "/b", "/c/") == -ENOTDIR);
    CHECK(by_names(p, RENAME, "/x", "/y") == -ENOENT);
    CHECK(by_names(p, RENAME, "/d/.", "/y") == -EBUSY);
    make(p, "/d/e/f", "f");
    CHECK(by_name(p, MKDIR, "/g", 0777, 0) == 0);
    CHECK(by_names(p, RENAME, "/g", "/d/e") == -ENOTEMPTY);
    CHECK(by_names(p, RENAME, "/d/e", "/g") == 0 && holds(p, "/g/f", "f"));
    CHECK(CALL(p, RENAMEAT2, HL_LINUX_HERE, text(p, TEXT, "/b"), HL_LINUX_HERE,
               text(p, OTHER, "/g/f"), 1) == -EEXIST);
    check_tree(p);
    end(p);
}

static void folders_are_listed_whole(void)
{
    struct program *p = begin();
    bool seen[40] = {false};
    int dots = 0;
    char path[16];

    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "/f%d", i);
        make(p, path, "");
    }
    CHECK(open_file(p, "/", 0) == 3);
    CHECK(CALL(p, GETDENTS64, 3, BUFFER, 20) == -EINVAL);
    for (int64_t got; (got = CALL(p, GETDENTS64, 3, BUFFER, 200)) != 0;) {
        CHECK(got > 0 && got <= 200);
        for (int64_t i = 0; i < got;) {
            char *entry = at(p, BUFFER + (uint64_t)i);
            uint16_t size;
            memcpy(&size, entry + 16, sizeof size);
            const char *name = entry + 19;
            if (name[0] == '.') {
                dots++;
            } else {
                int number = atoi(name + 1);
                CHECK(!seen[number] && entry[18] == 8);
                seen[number] = true;
                /* What is removed meanwhile hides no other. */
                snprintf(path, sizeof path, "/%s", name);
                char *keep = malloc((size_t)got);
                memcpy(keep, at(p, BUFFER), (size_t)got);
                CHECK(by_name(p, UNLINK, path, 0, 0) == 0);
                memcpy(at(p, BUFFER), keep, (size_t)got);
                free(keep);
            }
            i += size;
        }
    }
    CHECK(dots == 2);
    for (int i = 0; i < 40; i++)
        CHECK(seen[i]);
    CHECK(CALL(p, GETDENTS64, 1, BUFFER, 200) == -ENOTDIR);
    check_tree(p);
    end(p);
}

static uint64_t told(const struct program *p, uint64_t offset)
{
    uint64_t value;

    memcpy(&value, at(p, BUFFER + offset), sizeof value);
    return value;
}

static void what_is_told_is_so(void)
{
    struct program *p = begin();
    const uint64_t times[] = {5, 6, 7, 8};

    CHECK(CALL(p, UMASK, 077) == 022);
    make(p, "/a", "12345");
    CHECK(by_name(p, STAT, "/a", BUFFER, 0) == 0);
    CHECK((uint32_t)told(p, 24) == 0100600 && told(p, 48) == 5);
    CHECK(told(p, 16) == 1 && told(p, 88) > 1000000000);
    CHECK(by_name(p, CHMOD, "/a", 0755, 0) == 0);
    CHECK(by_name(p, ACCESS, "/a", 1, 0) == 0);
    CHECK(by_name(p, CHMOD, "/a", 0644, 0) == 0);
    CHECK(by_name(p, ACCESS, "/a", 1, 0) == -EACCES);
    CHECK(by_name(p, ACCESS, "/a", 6, 0) == 0);
    CHECK(by_name(p, ACCESS, "/a", 8, 0) == -EINVAL);
    memcpy(at(p, OTHER), times, sizeof times);
    CHECK(CALL(p, UTIMENSAT, HL_LINUX_HERE, text(p, TEXT, "/a"), OTHER, 0) ==
          0);
    CHECK(by_name(p, STAT, "/a", BUFFER, 0) == 0);
    CHECK(told(p, 88) == 7 && told(p, 96) == 8);
    CHECK(open_file(p, "/a", 0) == 3);
    CHECK(by_name(p, UNLINK, "/a", 0, 0) == 0);
    CHECK(CALL(p, FSTAT, 3, BUFFER) == 0 && told(p, 16) == 0);
    end(p);
}

static void files_are_mapped_as_copies(void)
{
    struct program *p = begin();

    make(p, "/a", "mapped");
    CHECK(open_file(p, "/a", RDWR) == 3);
    uint64_t addr = (uint64_t)CALL(p, MMAP, 0, 2 * PAGE, 3, 2, 3, 0);
    CHECK(addr >= ARENA && strcmp(at(p, addr), "mapped") == 0);
    *at(p, addr) = 'M';
    CHECK(holds(p, "/a", "mapped"));
    CHECK(CALL(p, MMAP, 0, PAGE, 1, 1, 3, 0) > 0); /* shared, to be read */
    CHECK(CALL(p, MMAP, 0, PAGE, 3, 1, 3, 0) == -ENODEV);
    CHECK(CALL(p, MMAP, 0, PAGE, 5, 2, 3, 0) == -EPERM);
    addr = (uint64_t)CALL(p, MMAP, 0, PAGE, 3, 2, 3, PAGE);
    CHECK(*at(p, addr) == 0); /* behind its end */
    CHECK(open_file(p, "/a", 1) == 4);
    CHECK(CALL(p, MMAP, 0, PAGE, 1, 2, 4, 0) == -EACCES);
    CHECK(CALL(p, MMAP, 0, PAGE, 1, 2, 1, 0) == -ENODEV);
    CHECK(CALL(p, MMAP, 0, PAGE, 1, 2, 77, 0) == -EBADF);
    end(p);
}

/* Bytes of the host's: read as they are, copied when they are written, unless
 * they are fixed. */
static void contents_are_the_hosts(void)
{
    struct program *p = begin();
    struct hl_files *f = &p->linux_.files;
    const struct hl_tree_content contents[] = {{"host's", 6}, {"fixed", 5}};
    uint32_t node;

    f->contents = contents;
    f->content_count = 2;
    for (uint64_t i = 0; i < 2; i++) {
        CHECK(hl_tree_add(f, HL_TREE_ROOT, i ? "b" : "a", 1, HL_TREE_FILE,
                          0644, 0, &node) == 0);
        struct hl_tree_node *n = hl_tree_change(f, node);
        n->content = i + 1;
        n->size = contents[i].size;
        n->fixed = i == 1;
    }
    check_tree(p);
    CHECK(holds(p, "/a", "host's") && holds(p, "/b", "fixed"));
    CHECK(open_file(p, "/b", RDWR) == -EROFS);
    CHECK(open_file(p, "/b", HL_O_TRUNC) == -EROFS);
    CHECK(by_name(p, ACCESS, "/b", 2, 0) == -EROFS);
    CHECK(by_name(p, TRUNCATE, "/b", 0, 0) == -EROFS);
    CHECK(by_name(p, CHMOD, "/b", 0, 0) == -EROFS);
    CHECK(open_file(p, "/a", RDWR) == 3 && write_text(p, 3, "H") == 1);
    CHECK(holds(p, "/a", "Host's") &&
          memcmp("host's", contents[0].bytes, 6) == 0);
    check_tree(p);
    hl_tree_change(f, HL_TREE_ROOT)->fixed = 1;
    CHECK(by_name(p, UNLINK, "/a", 0, 0) == -EROFS);
    CHECK(by_name(p, MKDIR, "/c", 0777, 0) == -EROFS);
    CHECK(by_names(p, RENAME, "/a", "/c") == -EROFS);
    end(p);
}

/* The model: a few files with their bytes. */
#define NAMES 6
#define MOST (6 * PAGE)
struct model {
    bool there;
    size_t size;
    char bytes[MOST];
};

static void one_step(struct program *p, struct model *m, uint64_t *random)
{
    uint64_t r = next_random(random), where = next_random(random) % MOST;
    size_t i = r % NAMES, j = r / 8 % NAMES;
    char path[] = "/0", other[] = "/0";
    size_t size = r >> 20 & 0xfff;

    path[1] = (char)('0' + i);
    other[1] = (char)('0' + j);
    if (r >> 40 & 4) {
        int64_t fd = open_file(p, path, CREAT | RDWR);
        CHECK(fd == 3);
        m[i].there = true;
        memset(at(p, BUFFER), 'a' + (int)(r >> 50 & 15), size);
        if (where + size > MOST)
            size = MOST - where;
        int64_t got = CALL(p, PWRITE, 3, BUFFER, size, where);
        CHECK(got == (int64_t)size || got == -ENOSPC);
        if (got > 0) {
            memset(m[i].bytes + where, 'a' + (int)(r >> 50 & 15), size);
            if (where + size > m[i].size)
                m[i].size = where + size;
        }
        CHECK(CALL(p, CLOSE, 3) == 0);
    } else if (r >> 40 & 2) {
        int64_t got = by_name(p, TRUNCATE, path, where, 0);
        if (got == 0) {
            if (where < m[i].size)
                memset(m[i].bytes + where, 0, m[i].size - where);
            m[i].size = where;
        }
        CHECK(got == 0 || got == (m[i].there ? -ENOSPC : -ENOENT));
    } else if (r >> 40 & 1) {
        CHECK(by_name(p, UNLINK, path, 0, 0) == (m[i].there ? 0 : -ENOENT));
        memset(&m[i], 0, sizeof m[i]);
    } else {
        int64_t got = by_names(p, RENAME, path, other);
        CHECK(got == (m[i].there ? 0 : -ENOENT));
        if (got == 0 && i != j) {
            m[j] = m[i];
            memset(&m[i], 0, sizeof m[i]);
        }
    }
}

static void random_steps_agree_with_the_model(void)
{
    static struct model m[NAMES];
    uint64_t random = 5;
    struct program *p = begin();

    for (int step = 0; step < FEWER_IF_SLOW(2000); step++) {
        one_step(p, m, &random);
        if (step % 10)
            continue;
        check_tree(p);
        for (size_t i = 0; i < NAMES; i++) {
            char name = (char)('0' + i);
            uint32_t node =
                hl_tree_child(&p->linux_.files, HL_TREE_ROOT, &name, 1);
            size_t size = MOST;
            CHECK((node != 0) == m[i].there);
            if (node == 0)
                continue;
            const char *bytes = hl_tree_read(&p->linux_.files, node, 0, &size);
            CHECK(size == m[i].size);
            CHECK(size == 0 || memcmp(bytes, m[i].bytes, size) == 0);
        }
    }
    end(p);
}

int main(void)
{
    RUN(files_keep_what_is_written);
    RUN(no_room_is_an_error);
    RUN(paths_lead_where_they_should);
    RUN(folders_are_where_one_is);
    RUN(removed_files_live_while_they_are_open);
    RUN(nodes_far_apart_are_told_of);
    RUN(names_change);
    RUN(folders_are_listed_whole);
    RUN(what_is_told_is_so);
    RUN(files_are_mapped_as_copies);
    RUN(contents_are_the_hosts);
    RUN(random_steps_agree_with_the_model);
    return 0;
}
