/* What was found by trying to do harm by calls, and by what a host gives. */
#include "abi/linux/given.h"
#include "linux_files_bed.h"

#define FORK 57

static uint32_t give(struct program *p, uint32_t folder, const char *name,
                     enum hl_tree_kind kind, uint32_t source)
{
    const struct hl_linux_given g = {
        .name = name,
        .name_size = strlen(name),
        .kind = kind,
        .mode = 0755,
        .size = kind == HL_TREE_FILE ? UINT64_C(1) << 40 : 0,
        .source = source,
    };
    uint32_t node;

    CHECK(hl_linux_give(&p->linux_, folder, &g, &node) == 0);
    memcpy(p->copy, p->memory, PAGES * PAGE);
    return node;
}

/* The call under way once more, after an answer. */
static int64_t again(struct program *p, int err)
{
    hl_linux_answer(&p->linux_, err, false);
    hl_linux_serve(&p->linux_);
    return (int64_t)p->regs.gpr[HL_RAX];
}

/* Whatever else was looked at before. */
static void what_is_refused_is_not_asked_for_again(void)
{
    struct program *p = begin();
    struct hl_linux *l = &p->linux_;
    uint32_t folder = give(p, HL_TREE_ROOT, "host", HL_TREE_FOLDER, 1);

    for (int i = 0; i < 2; i++) {
        (void)open_file(p, "/host/file", 0);
        CHECK(l->process->waits && l->ask.node == folder);
        CHECK(again(p, -EACCES) == -EACCES && !l->process->waits);
    }
    uint32_t file = give(p, folder, "file", HL_TREE_FILE, 2);
    l->files.tree->nodes[folder].source = 0;
    for (int i = 0; i < 2; i++) {
        (void)open_file(p, "/host/file", 0);
        CHECK(l->process->waits && l->ask.node == file);
        CHECK(again(p, -ELOOP) == -ELOOP && !l->process->waits);
    }
    end(p);
}

/* G1: its size is announced, and there is nothing of it yet. */
static void what_is_announced_is_not_cut_before_it_is_there(void)
{
    struct program *p = begin();
    struct hl_linux *l = &p->linux_;
    uint32_t file = give(p, HL_TREE_ROOT, "file", HL_TREE_FILE, 1);

    (void)by_name(p, TRUNCATE, "/file", PAGE, 0);
    CHECK(l->process->waits && l->ask.node == file);
    CHECK(hl_linux_give_bytes(l, file, "of the host", 11) == 0);
    CHECK(again(p, 0) == 0 && l->files.tree->nodes[file].size == PAGE);
    check_tree(p);
    end(p);
}

static void an_empty_link_leads_nowhere(void)
{
    struct program *p = begin();

    (void)give(p, HL_TREE_ROOT, "link", HL_TREE_LINK, 0);
    CHECK(open_file(p, "/link", 0) == -ENOENT);
    CHECK(open_file(p, "/link/dev", 0) == -ENOENT);
    end(p);
}

/* Links can make a path long beyond what can be said. */
static void a_path_has_no_more_names_than_it_could_have(void)
{
    struct program *p = begin();
    char target[HL_LINUX_PATH] = "";

    CHECK(by_name(p, MKDIR, "/a", 0777, 0) == 0);
    for (int i = 0; i < 600; i++)
        strcat(target, "a/../");
    CHECK(by_names(p, SYMLINK, target, "/once") == 0);
    strcat(target, "once");
    CHECK(by_names(p, SYMLINK, target, "/twice") == 0);
    CHECK(by_name(p, STAT, "/once", BUFFER, 0) == 0);
    CHECK(by_name(p, STAT, "/twice", BUFFER, 0) == -ELOOP);
    end(p);
}

/* So that a call ends soon: nobody can end it in its middle. */
static void chance_comes_in_pieces(void)
{
    struct program *p = begin();
    int64_t fd = open_file(p, "/dev/urandom", 0);
    const uint64_t all = ARENA_PAGES * PAGE, most = HL_LINUX_MOST_RANDOM;

    _Static_assert(ARENA_PAGES * PAGE >= HL_LINUX_MOST_RANDOM, "the arena");
    CHECK(CALL(p, READ, (uint64_t)fd, ARENA, 2 * all) == (int64_t)most);
    CHECK(CALL(p, READ, (uint64_t)fd, ARENA, PAGE) == (int64_t)PAGE);
    end(p);
}

static void refusals_are_counted_since_memory_was_put_back(void)
{
    struct program *p = begin();
    struct hl_linux *l = &p->linux_;

    CHECK(CALL(p, FORK, 0) == -ENOSYS && hl_linux_refused(l, FORK) == 1);
    l->head.ops->restored(&l->head);
    CHECK(hl_linux_refused(l, FORK) == 0);
    end(p);
}

int main(void)
{
    RUN(what_is_refused_is_not_asked_for_again);
    RUN(what_is_announced_is_not_cut_before_it_is_there);
    RUN(an_empty_link_leads_nowhere);
    RUN(a_path_has_no_more_names_than_it_could_have);
    RUN(chance_comes_in_pieces);
    RUN(refusals_are_counted_since_memory_was_put_back);
    return 0;
}
