/* Arming for uffd, by marks and by absence (blocks.h). */
#include "inject.h"
#include "os/vma.h"
#include "track/linux/uffd.h"

/* Runs to arm are joined across this many armed pages: walking those costs
 * about what another system call would. */
#define BRIDGE 512

static int walk(struct hl_uffd_tracker *u, enum hl_scan_for what,
                struct hl_run run, hl_scan_found *found, void *context)
{
    const struct hl_tracker *t = &u->tracker;
    uintptr_t start = (uintptr_t)t->addr + run.first * t->page_size;

    return hl_scan_walk(&u->scan, what, start,
                        start + run.count * t->page_size, found, context);
}

/* The same for a walk that arms, or that finds what another one armed.  If it
 * fails, the kernel may have armed pages without saying which: all of them
 * stay reported, whatever they were. */
static int walk_arming(struct hl_uffd_tracker *u, enum hl_scan_for what,
                       struct hl_run run, hl_scan_found *found, void *context)
{
    int err = walk(u, what, run, found, context);

    if (err < 0)
        hl_pages_add_range(&u->open, run);
    return err;
}

static struct hl_run pages_of(const struct hl_tracker *t, uintptr_t start,
                              uintptr_t end)
{
    return (struct hl_run){(start - (uintptr_t)t->addr) / t->page_size,
                           (end - start) / t->page_size};
}

struct arming {
    struct hl_uffd_tracker *u;
    const struct hl_pages *pages; /* to arm */
};

/* A page that was armed without a request was written after the caller
 * collected: keep it reported. */
static void note_unasked(void *context, uintptr_t start, uintptr_t end)
{
    const struct arming *arming = context;
    struct hl_run run = pages_of(&arming->u->tracker, start, end);

    for (size_t page = run.first; page < run.first + run.count; page++)
        if (!hl_pages_has(arming->pages, page))
            hl_pages_add(&arming->u->found, page);
}

static void note_nothing(void *context, uintptr_t start, uintptr_t end)
{
    (void)context;
    (void)start;
    (void)end;
}

/* Blocks that have just been marked (B3).  What exists is armed first, and
 * then the rest: a page touched in between is armed by neither, and so is
 * reported.  If all of a block was dropped in between, its page table may be
 * gone, and the second walk arms what is touched meanwhile (scan.h): the third
 * one finds that, as in arm_marked. */
static int arm_fresh(struct arming *arming)
{
    struct hl_uffd_tracker *u = arming->u;
    struct hl_run run;
    int err = 0;

    while (hl_blocks_take_fresh(&u->blocks, &run)) {
        if (err == 0)
            err =
                walk_arming(u, HL_SCAN_ARM_TOUCHED, run, note_unasked, arming);
        if (err == 0)
            err = walk_arming(u, HL_SCAN_ARM_REST, run, note_nothing, NULL);
        if (err == 0)
            err = walk_arming(u, HL_SCAN_PRESENT, run, note_unasked, arming);
    }
    return err;
}

static void mark(void *context, uintptr_t start, uintptr_t end)
{
    struct hl_uffd_tracker *u = context;

    hl_blocks_mark(&u->blocks, pages_of(&u->tracker, start, end));
}

/* Of these pages' bare blocks, mark those where one exists; the other pages
 * are armed by their absence (B1). */
static int mark_where_touched(struct hl_uffd_tracker *u,
                              const struct hl_pages *pages)
{
    struct hl_run run, part;
    bool bare;
    int err = 0;

    for (size_t at = 0; err == 0 && hl_pages_run(pages, &at, &run);) {
        size_t in = run.first;
        while (err == 0 && hl_blocks_next(&u->blocks, &in,
                                          run.first + run.count, &part, &bare))
            if (bare)
                err = walk(u, HL_SCAN_EXISTS, part, mark, u);
    }
    return err;
}

static int arm_stretch(struct arming *arming, struct hl_run stretch)
{
    struct hl_uffd_tracker *u = arming->u;
    size_t at = stretch.first, end = stretch.first + stretch.count;
    struct hl_run part;
    bool bare;
    int err = 0;

    if (HL_INJECT(HL_INJECT_ARM))
        return -ENOMEM;
    while (err == 0 && hl_blocks_next(&u->blocks, &at, end, &part, &bare))
        if (!bare)
            err = walk_arming(u, HL_SCAN_ARM_WRITTEN, part, note_unasked,
                              arming);
    return err;
}

void hl_uffd_arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct hl_uffd_tracker *u = (struct hl_uffd_tracker *)t;
    struct arming arming = {u, pages};
    struct hl_run stretch;

    hl_pages_andnot(&u->found, pages);
    hl_pages_andnot(&u->open, pages);
    int err = t->collected ? 0 : hl_scan_open(&u->scan);
    if (err == 0 && u->blocks.bare > 0) {
        err = mark_where_touched(u, pages);
        int failed = arm_fresh(&arming);
        err = err < 0 ? err : failed;
    }
    bool can_scan = err == 0;
    for (size_t at = 0;
         hl_next_stretch(pages, &u->open, BRIDGE, &at, &stretch);) {
        if (can_scan)
            err = arm_stretch(&arming, stretch);
        if (err < 0)
            hl_pages_add_range(&u->open, stretch);
        u->lost = u->lost || err == -EPERM;
    }
    if (!can_scan || hl_drops_armed(&u->drops, t, &u->scan, pages) < 0)
        hl_pages_or(&u->open, pages);
}

static void clear_open(void *context, uintptr_t start, uintptr_t end)
{
    struct hl_uffd_tracker *u = context;

    hl_pages_remove_range(&u->open, pages_of(&u->tracker, start, end));
}

/* What exists is armed first, and then the rest.  A page first touched
 * meanwhile is found by the third walk, armed or not: it is in memory then,
 * unless it was swapped out at once. */
static int arm_marked(struct hl_uffd_tracker *u, struct hl_run run,
                      struct hl_pages *touched)
{
    const char *addr = u->tracker.addr;

    int err = hl_scan_find(&u->scan, HL_SCAN_ARM_TOUCHED, addr, run, touched);
    if (err == 0)
        err = walk(u, HL_SCAN_ARM_REST, run, clear_open, u);
    return err < 0
               ? err
               : hl_scan_find(&u->scan, HL_SCAN_PRESENT, addr, run, touched);
}

/* Pages that are swapped out look like those just armed, so that with any of
 * them nothing is certain of what is armed by a mark.  Where absence arms,
 * what is in swap was found, and its block marked. */
static void doubt_marked(struct hl_uffd_tracker *u, struct hl_pages *touched)
{
    size_t count = u->tracker.page_count;
    struct hl_run run;
    bool bare;

    for (size_t at = 0; hl_blocks_next(&u->blocks, &at, count, &run, &bare);)
        if (!bare)
            hl_pages_add_range(touched, run);
}

int hl_uffd_arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    struct hl_uffd_tracker *u = (struct hl_uffd_tracker *)t;
    struct hl_run all = {0, t->page_count}, run;
    bool bare, marked = false;

    int err = hl_scan_open(&u->scan);
    if (err == 0 && u->blocks.bare > 0)
        err = walk(u, HL_SCAN_EXISTS, all, mark, u);
    while (hl_blocks_take_fresh(&u->blocks, &run))
        ;
    for (size_t at = 0; err == 0 && hl_blocks_next(&u->blocks, &at, all.count,
                                                   &run, &bare);) {
        if (bare)
            hl_pages_remove_range(&u->open, run);
        else
            err = arm_marked(u, run, touched);
        marked = marked || !bare;
    }
    if (err == 0 && marked &&
        hl_may_be_swapped(t->addr, t->page_count * t->page_size))
        doubt_marked(u, touched);
    if (err == 0)
        hl_pages_andnot(&u->open, touched);
    else
        hl_pages_fill(&u->open);
    return err;
}
