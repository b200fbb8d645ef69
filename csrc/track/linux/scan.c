#include "track/linux/scan.h"

#include "inject.h"
#include "os/linux/descriptor.h"
#include "os/map.h"
#include "os/others.h"
#include "os/wait.h"

int hl_scan_open(struct hl_scan *scan)
{
    scan->fd = hl_descriptor_of_proc(HL_DESCRIPTOR_PAGEMAP);
    return scan->fd < 0 ? scan->fd : 0;
}

/* WRITTEN is asked for alone: only then does the kernel also report a page
 * that was dropped (MADV_DONTNEED) or swapped out, and it is its fast path. */
static void fill_categories(struct pm_scan_arg *arg, enum hl_scan_for what)
{
    const uint64_t exists = PAGE_IS_PRESENT | PAGE_IS_SWAPPED;

    switch (what) {
    case HL_SCAN_WRITTEN:
    case HL_SCAN_ARM_WRITTEN:
        arg->category_mask = PAGE_IS_WRITTEN;
        break;
    case HL_SCAN_ARM_TOUCHED:
        arg->category_anyof_mask = exists;
        break;
    case HL_SCAN_ABSENT:
    case HL_SCAN_ARM_REST:
        arg->category_inverted = exists;
        arg->category_mask = exists;
        break;
    case HL_SCAN_PRESENT:
        arg->category_mask = PAGE_IS_PRESENT;
        break;
    case HL_SCAN_EXISTS:
        arg->category_anyof_mask = exists;
        arg->category_inverted = PAGE_IS_PFNZERO;
        arg->category_mask = PAGE_IS_PFNZERO;
        break;
    case HL_SCAN_COPIES:
        arg->category_inverted = PAGE_IS_FILE;
        arg->category_mask = PAGE_IS_PRESENT | PAGE_IS_FILE;
        break;
    case HL_SCAN_HUGE:
        arg->category_mask = PAGE_IS_HUGE;
        arg->flags = 0;
        return;
    case HL_SCAN_GUARDED:
        arg->category_mask = PAGE_IS_GUARD;
        arg->return_mask = PAGE_IS_GUARD;
        arg->flags = 0;
        return;
    case HL_SCAN_TOUCHED:
        arg->category_anyof_mask = exists;
        arg->flags = 0;
        return;
    }
    arg->flags = PM_SCAN_CHECK_WPASYNC;
    if (what == HL_SCAN_ARM_WRITTEN || what == HL_SCAN_ARM_TOUCHED ||
        what == HL_SCAN_ARM_REST)
        arg->flags |= PM_SCAN_WP_MATCHING;
}

static int walk(struct hl_scan *scan, enum hl_scan_for what, uintptr_t start,
                uintptr_t end, hl_scan_found *found, void *context)
{
    struct pm_scan_arg arg = {
        .size = sizeof arg,
        .start = start,
        .end = end,
        .vec = (uintptr_t)scan->regions,
        .vec_len = HL_SCAN_REGIONS,
        .return_mask = PAGE_IS_WRITTEN,
    };
    fill_categories(&arg, what);

    /* The walk stops early when the vector is full, and says where. */
    while (arg.start < end) {
        int n = ioctl(scan->fd, PAGEMAP_SCAN, &arg);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (arg.flags & PM_SCAN_WP_MATCHING && HL_INJECT(HL_INJECT_SCAN))
            return -ENOMEM; /* no memory for a page table, say */
        for (int i = 0; i < n; i++)
            found(context, scan->regions[i].start, scan->regions[i].end);
        if (arg.walk_end <= arg.start)
            return -EIO; /* no progress: not what the interface promises */
        arg.start = arg.walk_end;
    }
    return 0;
}

/* A walk over small pages takes PACE.  Huge pages and page tables that are not
 * there take less, by how much shows only afterwards: so the next walk is
 * judged by the last ones, unless it could be wrong by much.  Walks of less
 * than LONG_WALK are short at any pace. */
#define PACE 730U
#define LONG_WALK ((size_t)8192)
#define ENDLESS_WALK ((size_t)1 << 22) /* 3 ms at the most */

static void note_pace(unsigned *last, uint64_t pace)
{
    if (pace > PACE)
        pace = PACE;
    if (pace < *last || *last == 0)
        *last = (unsigned)pace + 1;
    else /* one that was interrupted is no reason to think ill of the next */
        *last += ((unsigned)pace - *last + 3) / 4;
}

int hl_scan_walk(struct hl_scan *scan, enum hl_scan_for what, uintptr_t start,
                 uintptr_t end, hl_scan_found *found, void *context)
{
    size_t pages = (end - start) / hl_page_size();
    unsigned *last = what == HL_SCAN_WRITTEN  ? &scan->pace_written
                     : what == HL_SCAN_EXISTS ? &scan->pace_exists
                                              : NULL;
    bool known = last && *last > 0 && pages <= ENDLESS_WALK;

    hl_spend(HL_COST_CALL + pages * (known ? *last : PACE) / 1000);
    if (last == NULL || pages < LONG_WALK)
        return walk(scan, what, start, end, found, context);
    uint64_t began = hl_now();
    int err = walk(scan, what, start, end, found, context);
    note_pace(last, (hl_now() - began) * 1000 / pages);
    return err;
}

struct finding {
    const char *addr;
    struct hl_pages *found;
    size_t page_size;
};

static void add_found(void *context, uintptr_t start, uintptr_t end)
{
    struct finding *f = context;
    size_t first = (start - (uintptr_t)f->addr) / f->page_size;

    if (end - start == f->page_size) /* hot pages that lie spread: many */
        hl_pages_add(f->found, first);
    else
        hl_pages_add_range(
            f->found, (struct hl_run){first, (end - start) / f->page_size});
}

int hl_scan_find(struct hl_scan *scan, enum hl_scan_for what, const void *addr,
                 struct hl_run run, struct hl_pages *found)
{
    struct finding finding = {addr, found, hl_page_size()};
    uintptr_t start = (uintptr_t)addr + run.first * finding.page_size;

    return hl_scan_walk(scan, what, start,
                        start + run.count * finding.page_size, add_found,
                        &finding);
}
