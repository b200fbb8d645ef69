/* writewatch: memory of which Windows notes the pages that are written
 * (MEM_WRITE_WATCH), until it is told to forget them.
 *
 * Nothing is closed and nothing faults to a handler: writes by system calls
 * are noted as others.  The memory has to be reserved for it, as that of
 * SharedMemory is.  Costs a system call to ask, by the pages that were
 * written, and one to forget. */
#include <stdlib.h>
#include <windows.h>

#include "inject.h"
#include "os/map.h"
#include "os/others.h"
#include "os/windows/watched.h"
#include "track/track.h"

/* Addresses that one call returns. */
#define BATCH 512

struct writewatch {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_pages open;      /* not armed, or left so, or noted here when
                                  Windows forgot them with their neighbours */
};

static char *at(const struct hl_tracker *t, size_t page)
{
    return t->addr + page * t->page_size;
}

/* Windows forgets (`reset`) what it has noted of a run, and adds it to
 * `noted`, but for the pages in `without`.  -EIO: not all of it was. */
static int ask(const struct hl_tracker *t, struct hl_run run, bool reset,
               const struct hl_pages *without, struct hl_pages *noted)
{
    void *found[BATCH];
    char *from = at(t, run.first), *end = from + run.count * t->page_size;
    DWORD flags = reset ? WRITE_WATCH_FLAG_RESET : 0;

    while (from < end) {
        ULONG_PTR count = BATCH;
        DWORD unit;
        if (GetWriteWatch(flags, from, (SIZE_T)(end - from), found, &count,
                          &unit) != 0)
            return -EIO;
        for (size_t i = 0; i < count; i++) {
            size_t page = (size_t)((char *)found[i] - t->addr) / t->page_size;
            if (without == NULL || !hl_pages_has(without, page))
                hl_pages_add(noted, page);
        }
        if (count < BATCH)
            break;
        hl_spend(BATCH * HL_COST_ENTRY);
        from = (char *)found[count - 1] + t->page_size;
    }
    return 0;
}

static int probe(char *why)
{
    struct hl_map map;
    void *found[1];
    ULONG_PTR count = 1;
    DWORD unit;

    int err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "VirtualAlloc: %s", hl_strerror(-err));
    *(volatile char *)map.addr = 1;
    if (GetWriteWatch(WRITE_WATCH_FLAG_RESET, map.addr, map.size, found,
                      &count, &unit) != 0 ||
        count != 1 || ResetWriteWatch(map.addr, map.size) != 0)
        err = hl_why(why, -EOPNOTSUPP, "GetWriteWatch: it saw no write here");
    hl_map_destroy(&map);
    return err;
}

/* Of one reservation, which was made for it. */
static bool is_watched(const void *addr, size_t size)
{
    void *found[1];
    ULONG_PTR count = 1;
    DWORD unit;

    return GetWriteWatch(0, (void *)addr, size, found, &count, &unit) == 0;
}

static int writewatch_open(void *addr, size_t page_count,
                           struct hl_tracker **out, char *why)
{
    struct hl_vma vma;
    int err =
        hl_tracker_accepts(&hl_track_writewatch, addr, page_count, &vma, why);
    if (err < 0)
        return err;
    if (!is_watched(addr, page_count * hl_page_size()))
        return hl_why(why, -EOPNOTSUPP,
                      "this memory was reserved without MEM_WRITE_WATCH, "
                      "which SharedMemory(size) has");
    struct writewatch *w = calloc(1, sizeof *w);
    if (w == NULL || hl_pages_init(&w->open, page_count) < 0) {
        free(w);
        return hl_why(why, -ENOMEM, "out of memory");
    }
    w->tracker = (struct hl_tracker){.ops = &hl_track_writewatch,
                                     .addr = addr,
                                     .page_count = page_count,
                                     .page_size = hl_page_size()};
    hl_pages_fill(&w->open);
    *out = &w->tracker;
    return 0;
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct writewatch *w = (struct writewatch *)t;

    if (HL_INJECT(HL_INJECT_COLLECT))
        return -EIO;
    hl_spend(HL_COST_CALL);
    int err = ask(t, (struct hl_run){0, t->page_count}, false, NULL, dirty);
    if (err == 0)
        hl_pages_or(dirty, &w->open);
    return err;
}

/* Windows forgets what it noted of these pages, and of those between them:
 * the latter are noted here instead.  A refusal needs no care: then they are
 * noted as before, and reported (T2). */
static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct writewatch *w = (struct writewatch *)t;
    struct hl_run run, last;
    size_t cursor = 0;

    hl_pages_andnot(&w->open, pages);
    if (!hl_pages_run(pages, &cursor, &run) || HL_INJECT(HL_INJECT_ARM))
        return;
    hl_spend(2 * HL_COST_CALL);
    hl_watched_forgets(t->addr);
    for (last = run; hl_pages_run(pages, &cursor, &last);)
        ;
    if (last.first == run.first) {
        (void)ResetWriteWatch(at(t, run.first), run.count * t->page_size);
        return;
    }
    run.count = last.first + last.count - run.first;
    (void)ask(t, run, true, pages, &w->open);
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_pages_or(&((struct writewatch *)t)->open, pages);
}

/* What was never written is zero, as long as nobody made Windows forget. */
static int arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    struct writewatch *w = (struct writewatch *)t;
    struct hl_run all = {0, t->page_count};

    if (!hl_watched_knows_all(t->addr, t->page_count * t->page_size))
        return -EOPNOTSUPP;
    hl_watched_forgets(t->addr);
    hl_pages_empty(&w->open);
    int err = ask(t, all, true, NULL, touched);
    if (err < 0)
        hl_pages_fill(&w->open);
    return err;
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    hl_pages_add_range(&((struct writewatch *)t)->open, run);
}

static void writewatch_close(struct hl_tracker *t, bool forked)
{
    struct writewatch *w = (struct writewatch *)t;

    (void)forked;
    hl_pages_free(&w->open);
    free(w);
}

const struct hl_tracker_ops hl_track_writewatch = {
    .name = "writewatch",
    .kernel_writes = true,
    .arms = true,
    .collect_cost = 8,
    .kinds = HL_KIND_PRIVATE,
    .probe = probe,
    .open = writewatch_open,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = arm_first,
    .disarm = disarm,
    .close = writewatch_close,
};
