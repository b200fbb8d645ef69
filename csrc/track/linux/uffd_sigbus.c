/* uffd-sigbus: userfaultfd write protection that answers with SIGBUS, and a
 * handler that unprotects one page.
 *
 * For kernels from 5.7 on that lack asynchronous mode: no mapping is ever
 * split, so vm.max_map_count does not matter, and what was written is known
 * without asking.  A system call that writes into a protected page fails with
 * EFAULT. */
#include <signal.h>
#include <stdlib.h>

#include "os/linux/pagemap.h"
#include "os/map.h"
#include "os/page.h"
#include "os/vma.h"
#include "track/linux/uffd_fd.h"
#include "track/trap.h"

struct sigbus {
    struct hl_trap trap; /* first: they are cast to each other */
    struct hl_uffd uffd;
    bool populated_only; /* what was never touched cannot be protected */
};

static int protect(struct hl_trap *trap, struct hl_run run, bool closed)
{
    const struct sigbus *s = (const struct sigbus *)trap;
    size_t size = trap->tracker.page_size;

    return hl_uffd_protect(&s->uffd, trap->tracker.addr + run.first * size,
                           run.count * size, closed);
}

/* With what this kernel has, if that is enough. */
static int choose(struct hl_uffd *uffd, char *why)
{
    uint64_t features;
    int err = hl_uffd_features(&features, why);
    if (err == 0 && !hl_uffd_choose(uffd, HL_DESCRIPTOR_UFFD_SIGBUS, features))
        err = hl_why(why, -EINVAL,
                     "this kernel is too old: userfaultfd write protection "
                     "came with Linux " HL_UFFD_LINUX);
    return err;
}

static int sigbus_open(void *addr, size_t page_count, struct hl_tracker **out,
                       char *why)
{
    size_t size = page_count * hl_page_size();
    struct hl_uffd uffd = {0};
    struct hl_vma vma;
    int err =
        hl_tracker_accepts(&hl_track_uffd_sigbus, addr, page_count, &vma, why);
    if (err == 0)
        err = choose(&uffd, why);
    if (err < 0)
        return err;

    struct sigbus *s = calloc(1, sizeof *s);
    if (s == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    s->trap.protect = protect;
    s->trap.bridge = 16; /* protecting a page costs 30 ns, a call 700 */
    s->populated_only = !(uffd.features & UFFD_FEATURE_WP_UNPOPULATED);
    s->uffd = uffd;
    err = hl_uffd_open(&s->uffd, addr, size, why);
    if (err < 0)
        goto fail;
    err = hl_trap_open(&s->trap, &hl_track_uffd_sigbus, addr, page_count,
                       SIGBUS, why);
    if (err < 0) {
        hl_uffd_close(&s->uffd, addr, size, false);
        goto fail;
    }
    *out = &s->trap.tracker;
    return 0;

fail:
    free(s);
    return err;
}

static void open_what_is_armed(struct hl_trap *trap)
{
    for (size_t page = 0; page < trap->tracker.page_count; page++)
        if (!hl_pages_atomic_has(&trap->open, page))
            (void)protect(trap, (struct hl_run){page, 1}, false);
}

static void sigbus_close(struct hl_tracker *t, bool forked)
{
    struct sigbus *s = (struct sigbus *)t;

    /* Opened by unregistering, before the handler forgets it; but without our
     * descriptor, what is still armed alone: the rest may be somebody's. */
    if (!forked && !hl_uffd_is_good(&s->uffd))
        open_what_is_armed(&s->trap);
    hl_uffd_close(&s->uffd, t->addr, t->page_count * t->page_size, forked);
    hl_trap_close(&s->trap);
    free(s);
}

/* Where protection was lost every page may have been written; those armed
 * from now on are protected anew. */
static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct sigbus *s = (struct sigbus *)t;
    char why[HL_WHY_SIZE];
    struct hl_vma vma;

    if (hl_uffd_is_good(&s->uffd))
        return hl_trap_collect(t, dirty);
    hl_trap_leave_all_unarmed(&s->trap);
    int err = hl_tracker_accepts(t->ops, t->addr, t->page_count, &vma, why);
    if (err == 0)
        err =
            hl_uffd_open(&s->uffd, t->addr, t->page_count * t->page_size, why);
    return err < 0 ? err : -EBADF;
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
    struct hl_uffd uffd = {0};
    struct hl_map map;
    int err = choose(&uffd, why);
    if (err < 0)
        return err;
    err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap: %s", strerror(-err));
    *(volatile char *)map.addr = 1;
    err = hl_uffd_open(&uffd, map.addr, map.size, why);
    if (err == 0) {
        bool works = hl_uffd_protect(&uffd, map.addr, map.size, true) == 0 &&
                     !hl_is_writable((uintptr_t)map.addr) &&
                     hl_uffd_protect(&uffd, map.addr, map.size, false) == 0 &&
                     hl_is_writable((uintptr_t)map.addr);
        if (!works)
            err = hl_why(why, -EIO, "protecting a page had no effect");
        hl_uffd_close(&uffd, map.addr, map.size, false);
    }
    hl_map_destroy(&map);
    return err;
}

const struct hl_tracker_ops hl_track_uffd_sigbus = {
    .name = "uffd-sigbus",
    .kernel_writes = false,
    .arms = true,
    .uses_signal = true,
    .disarm_cost = 16, /* the same, and atomic bitmaps */
    .kinds = HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_UNKNOWN,
    .probe = probe,
    .open = sigbus_open,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = hl_trap_leave_unarmed,
    .arm_first = arm_first,
    .disarm = hl_trap_disarm,
    .close = sigbus_close,
};
