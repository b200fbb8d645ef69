#include "track/trap.h"

#include <stdlib.h>
#include <time.h>

#include "fail.h"
#include "mem/bitmap.h"
#include "mem/map.h"

static int change(struct hl_trap *trap, struct hl_run run, bool closed)
{
    if (HL_FAIL(closed ? HL_FAIL_ARM : HL_FAIL_UNPROTECT))
        return -ENOMEM;
    return trap->protect(trap, run, closed);
}

/* Where the races that trap.h speaks of are: a test can make them wide. */
static void linger(void)
{
    if (HL_FAIL(HL_FAIL_LINGER))
        nanosleep(&(struct timespec){.tv_nsec = 30000}, NULL);
}

/* Note, open, note: see trap.h.  Async-signal-safe. */
static int note_and_open(struct hl_trap *trap, struct hl_run run)
{
    hl_bitmap_atomic_set_range(trap->open, run.first, run.count);
    linger();
    int err = change(trap, run, false);
    linger();
    hl_bitmap_atomic_set_range(trap->open, run.first, run.count);
    return err;
}

/* In the handler.  The kernel refuses to split one more mapping (ENOMEM) when
 * vm.max_map_count is reached: a wider stretch merges mappings instead, and a
 * wide one at once leaves the program some to go on with.  The whole region
 * always opens. */
static bool open_page(struct hl_fault_region *region, uintptr_t addr)
{
    struct hl_trap *trap =
        (struct hl_trap *)((char *)region - offsetof(struct hl_trap, region));
    size_t total = trap->tracker.page_count;
    size_t page = (addr - region->start) / trap->tracker.page_size;
    size_t width = 1;

    for (;;) {
        struct hl_run run = {.first = page / width * width, .count = width};
        if (run.count > total - run.first)
            run.count = total - run.first;
        int err = note_and_open(trap, run);
        if (err == 0)
            return true;
        if (err != -ENOMEM || width >= total)
            return false;
        width = width == 1 ? total / 16 + 64 : width * 4;
    }
}

int hl_trap_open(struct hl_trap *trap, const struct hl_tracker_ops *ops,
                 void *addr, size_t page_count, int signal, char *why)
{
    size_t page_size = hl_page_size();

    trap->tracker = (struct hl_tracker){ops, addr, page_count, page_size};
    trap->open = malloc(hl_bitmap_words(page_count) * sizeof *trap->open);
    if (trap->open == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    memset(trap->open, 0xff, hl_bitmap_words(page_count) * 8);

    trap->region = (struct hl_fault_region){
        .start = (uintptr_t)addr,
        .end = (uintptr_t)addr + page_count * page_size,
        .signal = signal,
        .open_page = open_page,
    };
    int err = hl_fault_add(&trap->region);
    if (err < 0) {
        free(trap->open);
        return hl_why(why, err, "sigaction: %s", strerror(-err));
    }
    return 0;
}

void hl_trap_close(struct hl_trap *trap)
{
    hl_fault_remove(&trap->region);
    free(trap->open);
}

int hl_trap_collect(struct hl_tracker *tracker, uint64_t *dirty)
{
    struct hl_trap *trap = (struct hl_trap *)tracker;

    hl_bitmap_atomic_or(dirty, trap->open, tracker->page_count);
    return 0;
}

static void forget(struct hl_trap *trap, const uint64_t *pages)
{
    struct hl_run run;

    for (size_t at = 0;
         hl_run_next(pages, trap->tracker.page_count, &at, &run);)
        hl_bitmap_atomic_clear_range(trap->open, run.first, run.count);
}

/* The kernel refused to close the stretch: its pages stay reported.  All of
 * them, not only those of pages[]: more is always right. */
static void keep_open(struct hl_trap *trap, struct hl_run stretch)
{
    (void)note_and_open(trap, stretch);
}

void hl_trap_arm(struct hl_tracker *tracker, const uint64_t *pages)
{
    struct hl_trap *trap = (struct hl_trap *)tracker;
    struct hl_run stretch;

    /* Somebody in front of us would take tracking faults for crashes. */
    hl_fault_reclaim();
    if (!hl_bitmap_any(pages, tracker->page_count))
        return;
    forget(trap, pages);
    for (size_t at = 0; hl_next_stretch(pages, trap->open, tracker->page_count,
                                        trap->bridge, &at, &stretch);)
        if (change(trap, stretch, true) < 0)
            keep_open(trap, stretch);
    hl_fault_quiesce();
}

/* Noted and closed is allowed: the first write opens it. */
void hl_trap_leave(struct hl_tracker *tracker, const uint64_t *pages)
{
    struct hl_trap *trap = (struct hl_trap *)tracker;
    struct hl_run run;

    for (size_t at = 0; hl_run_next(pages, tracker->page_count, &at, &run);)
        hl_bitmap_atomic_set_range(trap->open, run.first, run.count);
}

void hl_trap_disarm(struct hl_tracker *tracker, struct hl_run run)
{
    (void)note_and_open((struct hl_trap *)tracker, run);
}
