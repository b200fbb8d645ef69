/* Files and folders of a program, against a model of them. */
#include "linux_files_bed.h"

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
    static const struct hl_tree_content contents[] = {{"host's", 6},
                                                      {"fixed", 5}};
    uint32_t node;

    f->contents = calloc(2, sizeof *f->contents);
    memcpy(f->contents, contents, sizeof contents);
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
    RUN(removed_files_live_while_they_are_open);
    RUN(what_is_told_is_so);
    RUN(files_are_mapped_as_copies);
    RUN(contents_are_the_hosts);
    RUN(random_steps_agree_with_the_model);
    return 0;
}
