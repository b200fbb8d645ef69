#include "track/trap.h"

#include "inject.h"
#include "os/map.h"
#include "os/others.h"
#include "os/page.h"
#include "track/handler.h"

static int change(struct hl_trap *trap, struct hl_run run, bool closed)
{
    if (HL_INJECT(closed ? HL_INJECT_ARM : HL_INJECT_UNPROTECT))
        return -ENOMEM;
    return trap->protect(trap, run, closed);
}

/* Note, open, note: see trap.h.  Async-signal-safe. */
static int note_and_open(struct hl_trap *trap, struct hl_run run)
{
    hl_pages_atomic_add(&trap->open, run);
    HL_LINGER();
    int err = change(trap, run, false);
    HL_LINGER();
    hl_pages_atomic_add(&trap->open, run);
    return err;
}

/* Can the program go on?  `arming` is as it was before the page was opened:
 * odd, or another number now, it says that arm() may have closed it. */
static bool makes_progress(struct hl_trap *trap, uintptr_t addr,
                           unsigned arming)
{
    return hl_is_writable(addr) || arming % 2 != 0 ||
           __atomic_load_n(&trap->arming, __ATOMIC_SEQ_CST) != arming;
}

/* In the handler.  The kernel refuses to split another mapping (ENOMEM) when
 * vm.max_map_count is reached: opening a wider range merges mappings instead,
 * and a wide one leaves the program some for later.  The whole region can
 * always be opened. */
static bool open_page(struct hl_fault_region *region, uintptr_t addr)
{
    struct hl_trap *trap =
        (struct hl_trap *)((char *)region - offsetof(struct hl_trap, region));
    size_t total = trap->tracker.page_count;
    size_t page = (addr - region->start) / trap->tracker.page_size;
    size_t width = 1;
    unsigned arming = __atomic_load_n(&trap->arming, __ATOMIC_SEQ_CST);
    bool noted = hl_pages_atomic_has(&trap->open, page);

    for (;;) {
        struct hl_run run = {.first = page / width * width, .count = width};
        if (run.count > total - run.first)
            run.count = total - run.first;
        int err = note_and_open(trap, run);
        if (err == 0)
            return !noted || makes_progress(trap, addr, arming);
        if (err != -ENOMEM || width >= total)
            return false;
        width = width == 1 ? total / 16 + 64 : width * 4;
    }
}

int hl_trap_open(struct hl_trap *trap, const struct hl_tracker_ops *ops,
                 void *addr, size_t page_count, int signal, char *why)
{
    size_t page_size = hl_page_size();

    trap->tracker = (struct hl_tracker){.ops = ops,
                                        .addr = addr,
                                        .page_count = page_count,
                                        .page_size = page_size};
    int err = hl_pages_init(&trap->open, page_count);
    if (err < 0)
        return hl_why(why, err, "out of memory");
    hl_pages_fill(&trap->open);

    trap->region = (struct hl_fault_region){
        .start = (uintptr_t)addr,
        .end = (uintptr_t)addr + page_count * page_size,
        .signal = signal,
        .open_page = open_page,
    };
    err = hl_fault_add(&trap->region);
    if (err < 0) {
        hl_pages_free(&trap->open);
        return hl_why(why, err, "%s: %s", hl_handler_call, strerror(-err));
    }
    return 0;
}

void hl_trap_close(struct hl_trap *trap)
{
    hl_fault_remove(&trap->region);
    hl_pages_free(&trap->open);
}

int hl_trap_collect(struct hl_tracker *tracker, struct hl_pages *dirty)
{
    struct hl_trap *trap = (struct hl_trap *)tracker;

    /* Somebody in front of us would take tracking faults for crashes. */
    hl_fault_reclaim_signal(trap->region.signal);
    hl_pages_atomic_or(dirty, &trap->open);
    return 0;
}

/* The kernel refused to close the range: all of its pages stay reported, not
 * only the requested ones, since reporting too many is always right. */
static void keep_open(struct hl_trap *trap, struct hl_run stretch)
{
    (void)note_and_open(trap, stretch);
}

void hl_trap_arm(struct hl_tracker *tracker, const struct hl_pages *pages)
{
    struct hl_trap *trap = (struct hl_trap *)tracker;
    struct hl_run run;
    size_t at = 0;

    hl_fault_reclaim_signal(trap->region.signal);
    if (!hl_pages_run(pages, &at, &run))
        return;
    __atomic_fetch_add(&trap->arming, 1, __ATOMIC_SEQ_CST);
    for (at = 0; hl_pages_run(pages, &at, &run);)
        hl_pages_atomic_remove(&trap->open, run);
    for (at = 0; hl_pages_run(pages, &at, &run);)
        hl_spend(HL_COST_MAPPING);
    for (at = 0; hl_next_stretch(pages, &trap->open, trap->bridge, &at, &run);)
        if (change(trap, run, true) < 0)
            keep_open(trap, run);
    __atomic_fetch_add(&trap->arming, 1, __ATOMIC_SEQ_CST);
    hl_fault_quiesce();
}

/* Noted and closed is allowed: the first write opens it. */
void hl_trap_leave_unarmed(struct hl_tracker *tracker,
                           const struct hl_pages *pages)
{
    struct hl_trap *trap = (struct hl_trap *)tracker;
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        hl_pages_atomic_add(&trap->open, run);
}

void hl_trap_leave_all_unarmed(struct hl_trap *trap)
{
    hl_pages_atomic_add(&trap->open,
                        (struct hl_run){0, trap->tracker.page_count});
}

void hl_trap_disarm(struct hl_tracker *tracker, struct hl_run run)
{
    (void)note_and_open((struct hl_trap *)tracker, run);
}
