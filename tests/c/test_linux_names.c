/* What the names of a program lead to, and how they change. */
#include "linux_files_bed.h"

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
            } else if (name[0] == 'f') { /* and not /dev */
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

int main(void)
{
    RUN(paths_lead_where_they_should);
    RUN(folders_are_where_one_is);
    RUN(nodes_far_apart_are_told_of);
    RUN(names_change);
    RUN(folders_are_listed_whole);
    return 0;
}
