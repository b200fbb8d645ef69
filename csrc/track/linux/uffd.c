/* uffd: userfaultfd in asynchronous write-protect mode, and PAGEMAP_SCAN.
 *
 * The kernel itself resolves the first write to an armed page, by user code or
 * by a system call, and leaves a mark that a scan reads: no handler, no
 * signal, no refused write.  A first write costs about 1 us, a scan 1 ns a
 * page; Linux 6.7 is needed. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/map.h"
#include "os/memory.h"
#include "os/vma.h"
#include "track/linux/uffd.h"

static int can_open(const void *addr, size_t page_count, struct hl_vma *vma,
                    struct hl_uffd *uffd, char *why)
{
    size_t size = page_count * hl_page_size();
    uint64_t features;
    int err = hl_tracker_accepts(&hl_track_uffd, addr, page_count, vma, why);

    if (err == 0)
        err = hl_uffd_features(&features, why);
    if (err < 0)
        return err;
    if (!hl_uffd_choose(uffd, HL_DESCRIPTOR_UFFD_ASYNC, features))
        return hl_why(why, -EINVAL,
                      "this kernel is too old: asynchronous write protection "
                      "and PAGEMAP_SCAN came with Linux " HL_UFFD_ASYNC_LINUX);
    if ((uintptr_t)addr % vma->page_size || size % vma->page_size)
        return hl_why(why, -EOPNOTSUPP,
                      "this memory does not start and end with whole huge "
                      "pages of %zu bytes, which can only be protected whole",
                      vma->page_size);
    return 0;
}

static int allocate(struct hl_uffd_tracker *u, const struct hl_vma *vma,
                    char *why)
{
    size_t page_count = u->tracker.page_count;
    int err = hl_pages_init(&u->open, page_count);

    if (err == 0)
        err = hl_pages_init(&u->found, page_count);
    if (err == 0)
        err = hl_drops_init(&u->drops, vma, page_count);
    if (err == 0) /* B1 */
        err = hl_blocks_init(&u->blocks, u->tracker.addr, page_count,
                             vma->anonymous && vma->kinds == HL_KIND_PRIVATE);
    if (err < 0)
        return hl_why(why, err, "out of memory");
    hl_pages_fill(&u->open);
    return 0;
}

static void release(struct hl_uffd_tracker *u)
{
    hl_drops_free(&u->drops);
    hl_blocks_free(&u->blocks);
    hl_pages_free(&u->open);
    hl_pages_free(&u->found);
    free(u);
}

/* Does a scan for what was written report a page that lost its page table,
 * too, as one that lost its mark?  A huge page that was dropped has none.
 * Linux before 7.2 does not, except for its corrected stable versions; tried
 * once, on memory that never had a page table.  Where that cannot be tried,
 * no. */
static bool sees_holes(const struct hl_uffd_tracker *u)
{
    static atomic_int known;
    char why[HL_WHY_SIZE];
    struct hl_uffd uffd = u->uffd;
    struct hl_map map;
    uint64_t one = 0, mark = 0, top = 0;
    struct hl_pages found = {1, &one, &mark, &top};

    if (atomic_load(&known) != 0)
        return atomic_load(&known) > 0;
    if (hl_map_create(&map, 2 * hl_huge_size(), HL_HUGE_ALWAYS) < 0)
        return false;
    int err = hl_uffd_open(&uffd, map.addr, map.size, why);
    if (err == 0) {
        struct hl_scan *scan = calloc(1, sizeof *scan);
        err = scan ? hl_scan_open(scan) : -ENOMEM;
        if (err == 0)
            err = hl_scan_find(scan, HL_SCAN_WRITTEN, map.addr,
                               (struct hl_run){0, 1}, &found);
        free(scan);
        hl_uffd_close(&uffd, map.addr, map.size, false);
    }
    hl_map_destroy(&map);
    if (err == 0)
        atomic_store(&known, one & 1 ? 1 : -1);
    return err == 0 && (one & 1);
}

static int uffd_open(void *addr, size_t page_count, struct hl_tracker **out,
                     char *why)
{
    size_t page_size = hl_page_size();
    struct hl_vma vma;
    struct hl_uffd uffd = {0};
    int err = can_open(addr, page_count, &vma, &uffd, why);
    if (err < 0)
        return err;

    struct hl_uffd_tracker *u = calloc(1, sizeof *u);
    if (u == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    u->tracker = (struct hl_tracker){.ops = &hl_track_uffd,
                                     .addr = addr,
                                     .page_count = page_count,
                                     .page_size = page_size};
    u->uffd = uffd;
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
    u->sees_holes = vma.kinds != HL_KIND_PRIVATE || sees_holes(u);
    *out = &u->tracker;
    return 0;
}

static void uffd_close(struct hl_tracker *t, bool forked)
{
    struct hl_uffd_tracker *u = (struct hl_uffd_tracker *)t;

    hl_uffd_close(&u->uffd, t->addr, t->page_count * t->page_size, forked);
    release(u);
}

/* The stretch from the first armed page to the last one, by whole words. */
static struct hl_run armed_stretch(const struct hl_uffd_tracker *u)
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
static int start_anew(struct hl_uffd_tracker *u)
{
    const struct hl_tracker *t = &u->tracker;
    char why[HL_WHY_SIZE];
    struct hl_vma vma;

    hl_pages_fill(&u->open);
    int err = can_open(t->addr, t->page_count, &vma, &u->uffd, why);
    if (err < 0 || vma.kinds != u->kinds)
        return err < 0 ? err : -EOPNOTSUPP;
    err = hl_scan_open(&u->scan);
    if (err < 0)
        return err;
    return hl_uffd_open(&u->uffd, t->addr, t->page_count * t->page_size, why);
}

/* Of what is armed by a mark, whatever lost its mark; where absence is all
 * that arms a page, whatever exists (B1, B2). */
static int find_written(struct hl_uffd_tracker *u, struct hl_run armed,
                        struct hl_pages *dirty)
{
    size_t at = armed.first, end = armed.first + armed.count;
    struct hl_run run;
    bool bare;
    int err = 0;

    while (err == 0 && hl_blocks_next(&u->blocks, &at, end, &run, &bare)) {
        err = hl_scan_find(&u->scan, bare ? HL_SCAN_EXISTS : HL_SCAN_WRITTEN,
                           u->tracker.addr, run, dirty);
        if (err == 0 && !bare && !u->sees_holes)
            err = hl_scan_find(&u->scan, HL_SCAN_ABSENT, u->tracker.addr, run,
                               dirty);
    }
    return err;
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    struct hl_uffd_tracker *u = (struct hl_uffd_tracker *)t;
    struct hl_run armed = armed_stretch(u);

    if (HL_INJECT(HL_INJECT_COLLECT))
        return -ENOMEM;
    hl_pages_or(dirty, &u->open);
    hl_pages_or(dirty, &u->found);
    /* Where nothing is armed the scan has nothing to fail at. */
    bool lost = u->lost || (armed.count == 0 && !hl_uffd_is_good(&u->uffd));
    int err = lost ? -EBADF : hl_scan_open(&u->scan);
    if (err == 0)
        err = find_written(u, armed, dirty);
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

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    hl_pages_or(&((struct hl_uffd_tracker *)t)->open, pages);
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    struct hl_uffd_tracker *u = (struct hl_uffd_tracker *)t;

    (void)hl_uffd_protect(&u->uffd, t->addr + run.first * t->page_size,
                          run.count * t->page_size, false);
    hl_pages_add_range(&u->open, run);
}

static bool next_absent(const struct hl_tracker *t, size_t *cursor, size_t end,
                        struct hl_run *run)
{
    const struct hl_uffd_tracker *u = (const struct hl_uffd_tracker *)t;
    bool bare;

    if (u->blocks.bare == 0)
        return false;
    while (hl_blocks_next(&u->blocks, cursor, end, run, &bare))
        if (bare)
            return true;
    return false;
}

/* A page of our own: armed, written, found. */
static int probe(char *why)
{
    struct hl_map map;
    struct hl_tracker *t;
    uint64_t one = 1, bits = 0, mark = 0, top = 0;
    struct hl_pages page = {1, &one, &one, &one};
    struct hl_pages dirty = {1, &bits, &mark, &top};
    int err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap: %s", strerror(-err));
    err = uffd_open(map.addr, 1, &t, why);
    if (err == 0) {
        hl_uffd_arm(t, &page);
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
    .walks_tables = true,
    .disarm_cost = 12, /* two system calls: 1 us */
    .kinds = HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_FILE |
             HL_KIND_FILE_COPY | HL_KIND_HUGETLB,
    .sees_drops = true,
    .collect_cost = 17, /* a scan of nothing: 1 us */
    .probe = probe,
    .open = uffd_open,
    .collect = collect,
    .arm = hl_uffd_arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = hl_uffd_arm_first,
    .next_absent = next_absent,
    .disarm = disarm,
    .close = uffd_close,
};
