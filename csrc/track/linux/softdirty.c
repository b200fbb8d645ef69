/* softdirty: the kernel's soft-dirty bits (Documentation/admin-guide/mm/
 * soft-dirty.rst), where it was built with them.
 *
 * Arming writes to /proc/self/clear_refs, which clears the bits of the whole
 * process, and takes time by all of its memory.  Two things follow.
 *
 * Other regions tracked this way would lose their bits: before each clearing,
 * the bits of all regions are read and kept.
 *
 * Reading and clearing are two steps, and a write by another thread between
 * them would be lost.  So in a process with more than one thread, not counting
 * the library's own, nothing is armed: every page stays reported, which is
 * slow but correct.  This is why the tracker is the last one before `full`. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inject.h"
#include "os/linux/pagemap.h"
#include "os/lock.h"
#include "os/map.h"
#include "os/others.h"
#include "os/threads.h"
#include "os/vma.h"
#include "track/track.h"

struct softdirty {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_pages kept;      /* reported whatever the kernel's bits say */
    struct softdirty *next;
};

/* Everybody whose bits a clearing clears. */
static struct hl_lock lock;
static struct softdirty *everybody;

static int read_bits(struct softdirty *s)
{
    return hl_pagemap_find(s->tracker.addr, HL_PAGEMAP_SOFT_DIRTY, &s->kept);
}

static int clear_refs(void)
{
    hl_let_others_run(); /* a walk over all memory of the process */
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = write(fd, "4", 1) == 1 ? 0 : -errno;
    close(fd);
    return err;
}

static int keep_everybodys_bits(void)
{
    for (struct softdirty *s = everybody; s != NULL; s = s->next) {
        int err = read_bits(s);
        if (err < 0)
            return err;
    }
    return 0;
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct softdirty *s = (struct softdirty *)t;
    int err = HL_INJECT(HL_INJECT_ARM) ? -ENOMEM : 0;

    hl_lock_acquire(&lock);
    if (err == 0 && hl_is_single_threaded())
        err = keep_everybodys_bits();
    else
        err = -EAGAIN;
    if (err == 0)
        err = clear_refs();
    if (err == 0)
        hl_pages_andnot(&s->kept, pages);
    else
        hl_pages_or(&s->kept, pages);
    hl_lock_release(&lock);
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_lock_acquire(&lock);
    hl_pages_or(&((struct softdirty *)t)->kept, pages);
    hl_lock_release(&lock);
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct softdirty *s = (struct softdirty *)t;

    hl_lock_acquire(&lock);
    int err = HL_INJECT(HL_INJECT_COLLECT) ? -ENOMEM : read_bits(s);
    hl_pages_or(dirty, &s->kept);
    hl_lock_release(&lock);
    return err;
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run; /* a write to an armed page costs one fault less than this */
}

/* Bits of fresh memory are set where the kernel has any; clearing is not
 * tried, because it would clear somebody's. */
static int probe(char *why)
{
    struct hl_map map;
    uint64_t bits = 0, mark = 0, top = 0;
    struct hl_pages page = {1, &bits, &mark, &top};
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return hl_why(why, -errno, "/proc/self/clear_refs: %s",
                      hl_strerror(errno));
    close(fd);
    int err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap: %s", strerror(-err));
    *(volatile char *)map.addr = 1;
    err = hl_pagemap_find(map.addr, HL_PAGEMAP_SOFT_DIRTY, &page);
    hl_map_destroy(&map);
    if (err < 0)
        return hl_why(why, err, "/proc/self/pagemap: %s", hl_strerror(-err));
    if (!(bits & 1))
        return hl_why(why, -EOPNOTSUPP,
                      "not compiled into this kernel "
                      "(CONFIG_MEM_SOFT_DIRTY)");
    return 0;
}

static int softdirty_open(void *addr, size_t page_count,
                          struct hl_tracker **out, char *why)
{
    struct hl_vma vma;
    int err =
        hl_tracker_accepts(&hl_track_softdirty, addr, page_count, &vma, why);
    if (err == 0)
        err = probe(why);
    if (err < 0)
        return err;

    struct softdirty *s = calloc(1, sizeof *s);
    if (s == NULL || hl_pages_init(&s->kept, page_count) < 0) {
        free(s);
        return hl_why(why, -ENOMEM, "out of memory");
    }
    hl_pages_fill(&s->kept);
    s->tracker = (struct hl_tracker){.ops = &hl_track_softdirty,
                                     .addr = addr,
                                     .page_count = page_count,
                                     .page_size = hl_page_size()};
    hl_lock_acquire(&lock);
    s->next = everybody;
    everybody = s;
    hl_lock_release(&lock);
    *out = &s->tracker;
    return 0;
}

static void softdirty_close(struct hl_tracker *t, bool forked)
{
    struct softdirty *s = (struct softdirty *)t, **link = &everybody;

    (void)forked;
    hl_lock_acquire(&lock);
    while (*link != s)
        link = &(*link)->next;
    *link = s->next;
    hl_lock_release(&lock);
    hl_pages_free(&s->kept);
    free(s);
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_TRACKER);
}

const struct hl_tracker_ops hl_track_softdirty = {
    .name = "softdirty",
    .kernel_writes = true,
    .arms = true,
    .kinds =
        HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_FILE | HL_KIND_FILE_COPY,
    .collect_cost = 64, /* opening and reading pagemap: 5 us */
    .probe = probe,
    .open = softdirty_open,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = disarm,
    .close = softdirty_close,
};
