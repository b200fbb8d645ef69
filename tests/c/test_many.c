/* Many managers: one more asks the kernel nothing whose cost grows with what
 * else is mapped, and has no descriptor of its own.  Counted, not timed. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "manager/manager.h"
#include "os/map.h"
#include "os/vma.h"
#include "track/track.h"
#include "why.h"

#define MANY 200
#define PAGES ((size_t)16)

static size_t userfaultfds_closed, texts_opened;

static bool is_userfaultfd(int fd)
{
    char path[64], name[64];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(path, name, sizeof name - 1);
    name[got > 0 ? got : 0] = '\0';
    return strstr(name, "userfaultfd") != NULL;
}

/* In place of the C library's.  The kernel walks all mappings when one of
 * these is closed. */
int close(int fd)
{
    userfaultfds_closed += is_userfaultfd(fd);
    return (int)syscall(SYS_close, fd);
}

/* The kernel writes these mapping by mapping. */
FILE *fopen(const char *path, const char *mode)
{
    int fd = (int)syscall(SYS_openat, -100, path, 02000000 /* O_CLOEXEC */);

    (void)mode; /* all that is read with it here */
    texts_opened += strstr(path, "maps") != NULL;
    return fd < 0 ? NULL : fdopen(fd, "r");
}

static size_t descriptors(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

struct one {
    struct hl_map map;
    struct hl_manager *manager;
};

static void make(const struct hl_tracker_ops *ops, struct one *one)
{
    struct hl_snapshot *s;
    struct hl_applied done;
    char why[HL_WHY_SIZE];

    CHECK(hl_map_create(&one->map, PAGES * hl_page_size(), HL_HUGE_AUTO) == 0);
    CHECK(hl_manager_new(one->map.addr, PAGES, ops, true, &one->manager,
                         why) == 0);
    memset(one->map.addr, 1, hl_page_size());
    CHECK(hl_manager_take(one->manager, &s) == 0);
    memset(one->map.addr, 2, hl_page_size());
    CHECK(hl_manager_restore(one->manager, s, &done) == 0);
    CHECK(*(char *)one->map.addr == 1);
    hl_snapshot_unref(s);
}

static void end(struct one *one)
{
    hl_manager_free(one->manager);
    hl_map_destroy(&one->map);
}

static void one_more_costs_no_walk(const struct hl_tracker_ops *ops)
{
    static struct one many[MANY];
    struct one first;

    make(ops, &first); /* what is asked once is asked now */
    size_t open = descriptors();
    userfaultfds_closed = texts_opened = 0;
    for (size_t i = 0; i < MANY; i++)
        make(ops, &many[i]);
    CHECK(descriptors() == open);
    for (size_t i = 0; i < MANY; i++)
        end(&many[i * 77 % MANY]);
    CHECK(userfaultfds_closed == 0);
    /* Before Linux 6.11 there is nothing else to ask. */
    if (hl_vma_allows(first.map.addr, first.map.size, PROT_READ) != -ENOTTY)
        CHECK(texts_opened == 0);
    end(&first);
    CHECK(descriptors() == open);
}

int main(void)
{
    char why[HL_WHY_SIZE];

    for (size_t i = 0; i < hl_tracker_count; i++) {
        if (hl_trackers[i]->probe(why) < 0)
            continue;
        one_more_costs_no_walk(hl_trackers[i]);
        printf("ok %s\n", hl_trackers[i]->name);
        fflush(stdout);
    }
    CHECK(hl_manager_count() == 0 && hl_map_count() == 0);
    return 0;
}
