/* uffd: userfaultfd in asynchronous write-protect mode, and PAGEMAP_SCAN.
 *
 * The kernel itself resolves the first write to an armed page, by user code or
 * by a system call, and leaves a mark that a scan reads: no handler, no
 * signal, no refused write.  A first write costs about 1 us, a scan 1 ns a
 * page; Linux 6.7 is needed. */
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/map.h"
#include "os/vma.h"
#include "track/drops.h"
#include "track/scan.h"
#include "track/track.h"
#include "track/uffd_fd.h"

/* Runs to arm are joined across this many armed pages: walking those costs
 * about what another system call would. */
#define BRIDGE 512

/* Without WP_UNPOPULATED, arming a page that was never touched succeeds and
 * does nothing: its first write would go unseen. */
#define FEATURES (UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED)

struct uffd {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_uffd uffd;
    struct hl_scan scan;
    unsigned kinds; /* what the drops are looked for by */
    bool lost;      /* part of it is not registered any more */
    struct hl_drops drops;
    struct hl_pages open; /* not armed, or left so: no need to ask */
    /* Found written by a scan that armed them again on the way to its own
     * pages: reported until they are armed on purpose. */
    struct hl_pages found;
};

static uintptr_t address(const struct hl_tracker *t, size_t page)
{
    return (uintptr_t)t->addr + page * t->page_size;
}

static struct hl_run pages_of(const struct hl_tracker *t, uintptr_t start,
                              uintptr_t end)
{
    return (struct hl_run){(start - (uintptr_t)t->addr) / t->page_size,
                           (end - start) / t->page_size};
}

static int can_open(const void *addr, size_t page_count, struct hl_vma *vma,
                    char *why)
{
    size_t size = page_count * hl_page_size();
    uint64_t features;
    int err = hl_tracker_accepts(&hl_track_uffd, addr, page_count, vma, why);

    if (err == 0)
        err = hl_uffd_features(&features, why);
    if (err < 0)
        return err;
    if ((features & FEATURES) != FEATURES)
        return hl_why(why, -EINVAL,
                      "this kernel is too old: asynchronous write protection "
                      "and PAGEMAP_SCAN came with Linux 6.7");
    if ((uintptr_t)addr % vma->page_size || size % vma->page_size)
        return hl_why(why, -EOPNOTSUPP,
                      "this memory does not start and end with whole huge "
                      "pages of %zu bytes, which can only be protected whole",
                      vma->page_size);
    return 0;
}

static int allocate(struct uffd *u, const struct hl_vma *vma, char *why)
{
    size_t page_count = u->tracker.page_count;
    int err = hl_pages_init(&u->open, page_count);

    if (err == 0)
        err = hl_pages_init(&u->found, page_count);
    if (err == 0)
        err = hl_drops_init(&u->drops, vma, page_count);
    if (err < 0)
        return hl_why(why, err, "out of memory");
    hl_pages_fill(&u->open);
    return 0;
}

static void release(struct uffd *u)
{
    hl_drops_free(&u->drops);
    hl_pages_free(&u->open);
    hl_pages_free(&u->found);
    free(u);
}

static int uffd_open(void *addr, size_t page_count, struct hl_tracker **out,
                     char *why)
{
    size_t page_size = hl_page_size();
    struct hl_vma vma;
    int err = can_open(addr, page_count, &vma, why);
    if (err < 0)
        return err;

    struct uffd *u = calloc(1, sizeof *u);
    if (u == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    u->tracker = (struct hl_tracker){.ops = &hl_track_uffd,
                                     .addr = addr,
                                     .page_count = page_count,
                                     .page_size = page_size};
    u->uffd = (struct hl_uffd){.mode = HL_DESCRIPTOR_UFFD_ASYNC,
                               .features = FEATURES};
    u->kinds = vma.kinds;
    err = allocate(u, &vma, why);
    if (err == 0 && (err = hl_scan_open(&u->scan)) < 0)
        (void)hl_why(why, err, "/proc/self/pagemap: %s", hl_strerror(-err));
    if (err == 0)
        err = hl_uffd_open(&u->uffd, addr, page_count * page_size, why);
    if (err < 0) {
        release(u);
        return err;
    }
    *out = &u->tracker;
    return 0;
}

static void uffd_close(struct hl_tracker *t, bool forked)
{
    struct uffd *u = (struct uffd *)t;

    hl_uffd_close(&u->uffd, t->addr, t->page_count * t->page_size, forked);
    release(u);
}

struct into {
    const struct hl_tracker *tracker;
    struct hl_pages *pages;
};

static void set_found(void *context, uintptr_t start, uintptr_t end)
{
    const struct into *into = context;

    hl_pages_add_range(into->pages, pages_of(into->tracker, start, end));
}

/* The stretch from the first armed page to the last one, by whole words. */
static struct hl_run armed_stretch(const struct uffd *u)
{
    size_t words = hl_bitmap_words(u->tracker.page_count), first = 0;

    while (first < words && u->open.bits[first] == UINT64_MAX)
        first++;
    while (words > first && u->open.bits[words - 1] == UINT64_MAX)
        words--;
    size_t end = words * 64;
    if (end > u->tracker.page_count)
        end = u->tracker.page_count;
    return (struct hl_run){first * 64, first < words ? end - first * 64 : 0};
}

/* The scan was refused: part of the region is not registered any more, because
 * somebody closed our descriptors or put another mapping there.  What is armed
 * from now on is registered anew; but not memory of another kind, whose drops
 * would be looked for in the wrong way.  On error arming will fail as well,
 * and pages stay open. */
static int start_anew(struct uffd *u)
{
    const struct hl_tracker *t = &u->tracker;
    char why[HL_WHY_SIZE];
    struct hl_vma vma;

    hl_pages_fill(&u->open);
    int err = can_open(t->addr, t->page_count, &vma, why);
    if (err < 0 || vma.kinds != u->kinds)
        return err < 0 ? err : -EOPNOTSUPP;
    err = hl_scan_open(&u->scan);
    if (err < 0)
        return err;
    return hl_uffd_open(&u->uffd, t->addr, t->page_count * t->page_size, why);
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct uffd *u = (struct uffd *)t;
    struct hl_run run = armed_stretch(u);
    struct into into = {t, dirty};

    if (HL_INJECT(HL_INJECT_COLLECT))
        return -ENOMEM;
    hl_pages_or(dirty, &u->open);
    hl_pages_or(dirty, &u->found);
    /* Where nothing is armed the scan has nothing to fail at. */
    bool lost = u->lost || (run.count == 0 && !hl_uffd_is_good(&u->uffd));
    int err = lost ? -EBADF : hl_scan_open(&u->scan);
    if (err == 0)
        err =
            hl_scan_walk(&u->scan, HL_SCAN_WRITTEN, address(t, run.first),
                         address(t, run.first + run.count), set_found, &into);
    if (err == 0)
        err = hl_drops_find(&u->drops, t, &u->scan, &u->open, dirty);
    if (err == 0)
        return 0;
    bool known = u->lost;
    u->lost = start_anew(u) < 0;
    /* It could not be registered again for now, but all of it is open. */
    if (u->lost && known) {
        hl_pages_fill(dirty);
        return 0;
    }
    return err;
}

struct arming {
    struct uffd *u;
    const struct hl_pages *pages;
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

static int arm_stretch(struct uffd *u, const struct hl_pages *pages,
                       struct hl_run stretch)
{
    struct arming arming = {u, pages};

    if (HL_INJECT(HL_INJECT_ARM))
        return -ENOMEM;
    return hl_scan_walk(&u->scan, HL_SCAN_ARM_WRITTEN,
                        address(&u->tracker, stretch.first),
                        address(&u->tracker, stretch.first + stretch.count),
                        note_unasked, &arming);
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct uffd *u = (struct uffd *)t;
    struct hl_run stretch;

    hl_pages_andnot(&u->found, pages);
    hl_pages_andnot(&u->open, pages);
    bool can_scan = t->collected || hl_scan_open(&u->scan) == 0;
    for (size_t at = 0;
         hl_next_stretch(pages, &u->open, BRIDGE, &at, &stretch);) {
        int err = can_scan ? arm_stretch(u, pages, stretch) : -EBADF;
        if (err < 0)
            hl_pages_add_range(&u->open, stretch);
        u->lost = u->lost || err == -EPERM;
    }
    if (!can_scan || hl_drops_armed(&u->drops, t, &u->scan, pages) < 0)
        hl_pages_or(&u->open, pages);
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_pages_or(&((struct uffd *)t)->open, pages);
}

static void clear_found(void *context, uintptr_t start, uintptr_t end)
{
    const struct into *into = context;

    hl_pages_remove_range(into->pages, pages_of(into->tracker, start, end));
}

/* What exists is armed first, and then the rest.  A page first touched
 * meanwhile is found by the third walk, armed or not: it is in memory then,
 * unless it was swapped out at once.  Pages that are swapped out look like
 * those just armed, so that with any of them nothing is certain. */
static int arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    struct uffd *u = (struct uffd *)t;
    uintptr_t start = address(t, 0), end = address(t, t->page_count);
    struct into existing = {t, touched}, rest = {t, &u->open};

    int err = hl_scan_open(&u->scan);
    if (err == 0)
        err = hl_scan_walk(&u->scan, HL_SCAN_ARM_TOUCHED, start, end,
                           set_found, &existing);
    if (err == 0)
        err = hl_scan_walk(&u->scan, HL_SCAN_ARM_REST, start, end, clear_found,
                           &rest);
    if (err == 0)
        err = hl_scan_walk(&u->scan, HL_SCAN_PRESENT, start, end, set_found,
                           &existing);
    if (err == 0 && hl_may_be_swapped(t->addr, end - start))
        err = -EAGAIN;
    if (err == 0)
        hl_pages_andnot(&u->open, touched);
    else
        hl_pages_fill(&u->open);
    return err;
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    struct uffd *u = (struct uffd *)t;

    (void)hl_uffd_protect(&u->uffd, (void *)address(t, run.first),
                          run.count * t->page_size, false);
    hl_pages_add_range(&u->open, run);
}

/* A page of our own: armed, written, found. */
static int probe(char *why)
{
    struct hl_map map;
    struct hl_tracker *t;
    uint64_t one = 1, bit = 1, bits = 0, mark = 0;
    struct hl_pages page = {1, &one, &bit}, dirty = {1, &bits, &mark};
    int err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap: %s", strerror(-err));
    err = uffd_open(map.addr, 1, &t, why);
    if (err == 0) {
        arm(t, &page);
        err = collect(t, &dirty);
        bool clean = err == 0 && !(bits & 1);
        *(volatile char *)map.addr = 1;
        if (err == 0)
            err = collect(t, &dirty);
        if (err < 0)
            err = hl_why(why, err, "PAGEMAP_SCAN: %s", strerror(-err));
        else if (!clean || !(bits & 1))
            err = hl_why(why, -EIO, "a write to an armed page went unseen");
        uffd_close(t, false);
    }
    hl_map_destroy(&map);
    return err;
}

const struct hl_tracker_ops hl_track_uffd = {
    .name = "uffd",
    .kernel_writes = true,
    .arms = true,
    .kinds = HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_FILE |
             HL_KIND_FILE_COPY | HL_KIND_HUGETLB,
    .sees_drops = true,
    .collect_cost = 17, /* a scan of nothing: 1 us */
    .probe = probe,
    .open = uffd_open,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = arm_first,
    .disarm = disarm,
    .close = uffd_close,
};
