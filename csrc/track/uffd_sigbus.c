/* uffd-sigbus: userfaultfd write protection that answers with SIGBUS, and a
 * handler that unprotects one page.
 *
 * For kernels from 5.7 on that lack asynchronous mode: no mapping is ever
 * split, so vm.max_map_count does not matter, and what was written is known
 * without asking.  A system call that writes into a protected page fails with
 * EFAULT. */
#include <signal.h>
#include <stdlib.h>

#include "mem/map.h"
#include "mem/vma.h"
#include "track/trap.h"
#include "track/uffd_fd.h"

#define NEEDED (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP)

/* 5.19; without it only private anonymous memory can be protected. */
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#define WANTED (UFFD_FEATURE_WP_HUGETLBFS_SHMEM | UFFD_FEATURE_WP_UNPOPULATED)

struct sigbus {
    struct hl_trap trap; /* first: they are cast to each other */
    int fd;
    bool populated_only; /* what was never touched cannot be protected */
};

static int protect(struct hl_trap *trap, struct hl_run run, bool closed)
{
    const struct sigbus *s = (const struct sigbus *)trap;
    size_t size = trap->tracker.page_size;

    return hl_uffd_protect(s->fd, trap->tracker.addr + run.first * size,
                           run.count * size, closed);
}

/* What this kernel has, if that is enough. */
static int features_here(uint64_t *features, char *why)
{
    int err = hl_uffd_features(features, why);
    if (err == 0 && (*features & NEEDED) != NEEDED)
        err = hl_why(why, -EINVAL,
                     "this kernel is too old: userfaultfd write protection "
                     "came with Linux 5.7");
    return err;
}

static int sigbus_open(void *addr, size_t page_count, struct hl_tracker **out,
                       char *why)
{
    size_t size = page_count * hl_page_size();
    uint64_t features;
    int err = features_here(&features, why);
    if (err < 0)
        return err;

    struct sigbus *s = calloc(1, sizeof *s);
    if (s == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    s->trap.protect = protect;
    s->trap.bridge = 16; /* protecting a page costs 30 ns, a call 700 */
    s->populated_only = !(features & UFFD_FEATURE_WP_UNPOPULATED);
    s->fd = hl_uffd_open(addr, size, NEEDED | (features & WANTED), why);
    if (s->fd < 0) {
        err = s->fd;
        goto fail;
    }
    err = hl_trap_open(&s->trap, &hl_track_uffd_sigbus, addr, page_count,
                       SIGBUS, why);
    if (err < 0)
        goto fail_fd;
    *out = &s->trap.tracker;
    return 0;

fail_fd:
    hl_uffd_close(s->fd, addr, size, false);
fail:
    free(s);
    return err;
}

static void sigbus_close(struct hl_tracker *t, bool forked)
{
    struct sigbus *s = (struct sigbus *)t;

    /* Opened by unregistering, before the handler forgets it. */
    hl_uffd_close(s->fd, t->addr, t->page_count * t->page_size, forked);
    hl_trap_close(&s->trap);
    free(s);
}

/* Reading maps the zero page, which can be protected. */
static void populate(const struct hl_tracker *t, const struct hl_pages *pages)
{
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        for (size_t i = 0; i < run.count; i++)
            (void)*(volatile char *)(t->addr + (run.first + i) * t->page_size);
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    if (((struct sigbus *)t)->populated_only)
        populate(t, pages);
    hl_trap_arm(t, pages);
}

/* An armed page that was never touched looks swapped in pagemap, so pages are
 * looked at before as well; one first touched in between is present after,
 * unless it was swapped out at once. */
static int arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    int err = hl_pagemap_find(t->addr, HL_PAGEMAP_PRESENT | HL_PAGEMAP_SWAPPED,
                              touched);
    if (err == 0)
        err = hl_arm_all(t);
    if (err == 0)
        err = hl_pagemap_find(t->addr, HL_PAGEMAP_PRESENT, touched);
    if (err == 0 && hl_may_be_swapped(t->addr, t->page_count * t->page_size))
        err = -EAGAIN;
    return err;
}

static int probe(char *why)
{
    uint64_t features;
    struct hl_map map;
    int err = features_here(&features, why);
    if (err < 0)
        return err;
    err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap: %s", strerror(-err));
    *(volatile char *)map.addr = 1;
    int fd = hl_uffd_open(map.addr, map.size, NEEDED, why);
    if (fd >= 0) {
        bool works = hl_uffd_protect(fd, map.addr, map.size, true) == 0 &&
                     !hl_is_writable((uintptr_t)map.addr) &&
                     hl_uffd_protect(fd, map.addr, map.size, false) == 0 &&
                     hl_is_writable((uintptr_t)map.addr);
        if (!works)
            err = hl_why(why, -EIO, "protecting a page had no effect");
        hl_uffd_close(fd, map.addr, map.size, false);
    } else {
        err = fd;
    }
    hl_map_destroy(&map);
    return err;
}

const struct hl_tracker_ops hl_track_uffd_sigbus = {
    .name = "uffd-sigbus",
    .kernel_writes = false,
    .arms = true,
    .probe = probe,
    .open = sigbus_open,
    .collect = hl_trap_collect,
    .arm = arm,
    .leave = hl_trap_leave,
    .arm_first = arm_first,
    .disarm = hl_trap_disarm,
    .close = sigbus_close,
};
