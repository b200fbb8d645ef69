/* Sparse memory: blocks of pages that share a page table, against a plain
 * array; what the kernel keeps of pages that nobody touched; and takes and
 * restores over several blocks, against copies of everything. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "check.h"
#include "inject.h"
#include "manager/manager.h"
#include "manager/split.h"
#include "os/map.h"
#include "os/memory.h"
#include "track/linux/blocks.h"
#include "track/linux/scan.h"
#include "track/look.h"
#include "track/track.h"

#define BLOCKS ((size_t)5)

static uint64_t seed = 99;
static size_t page, each; /* bytes a page, pages a block */

static void check_blocks(const struct hl_blocks *blocks, const bool *marked)
{
    size_t at = 0, end = blocks->grid.page_count, count = 0;
    struct hl_run run;
    bool bare, before = false;

    while (hl_blocks_next(blocks, &at, end, &run, &bare)) {
        CHECK(run.first == count && run.count > 0);
        CHECK(count == 0 || bare != before);
        for (count += run.count; run.count > 0; run.count--, run.first++)
            CHECK(bare !=
                  marked[(run.first + blocks->grid.skew) / blocks->grid.each]);
        before = bare;
    }
    CHECK(count == end);
}

static void blocks_are_as_marked(void)
{
    for (int i = 0; i < 200; i++) {
        size_t pages = 1 + next_random(&seed) % (BLOCKS * each);
        size_t skew = next_random(&seed) % each;
        bool marked[BLOCKS + 2] = {0}, fresh[BLOCKS + 2];
        struct hl_blocks blocks;
        CHECK(hl_blocks_init(&blocks, (void *)(skew * page), pages, true) ==
              0);
        CHECK(blocks.grid.skew == skew);
        for (int k = 0; k < 6; k++) {
            struct hl_run run = {next_random(&seed) % pages, 0}, taken;
            run.count = 1 + next_random(&seed) % (pages - run.first);
            memset(fresh, 0, sizeof fresh);
            for (size_t p = run.first; p < run.first + run.count; p++) {
                fresh[(p + skew) / each] |= !marked[(p + skew) / each];
                marked[(p + skew) / each] = true;
            }
            hl_blocks_mark(&blocks, run);
            check_blocks(&blocks, marked);
            size_t left = 0;
            for (size_t p = 0; p < pages; p++)
                left += fresh[(p + skew) / each];
            while (hl_blocks_take_fresh(&blocks, &taken))
                for (left -= taken.count; taken.count > 0; taken.count--)
                    CHECK(fresh[(taken.first++ + skew) / each]);
            CHECK(left == 0);
        }
        hl_blocks_free(&blocks);
    }
}

static size_t touched(struct hl_map *map)
{
    struct hl_pages found;

    CHECK(hl_pages_init(&found, map->size / page) == 0);
    CHECK(hl_look_find_touched(map->addr, &found) == 0);
    size_t count = hl_pages_count(&found);
    hl_pages_free(&found);
    return count;
}

/* Markers look like pages in swap. */
static void untouched_blocks_stay_bare(void)
{
    size_t pages = BLOCKS * each;
    struct hl_pages dirty, first;
    struct hl_tracker *t;
    struct hl_map map;
    char why[HL_WHY_SIZE];

    CHECK(hl_map_create(&map, (BLOCKS + 1) * hl_huge_size(), HL_HUGE_NEVER) ==
          0);
    char *addr = (char *)hl_align_up((uintptr_t)map.addr, hl_huge_size());
    CHECK(hl_pages_init(&dirty, pages) == 0);
    CHECK(hl_pages_init(&first, pages) == 0);
    addr[2 * each * page] = 1;
    CHECK(hl_track_uffd.open(addr, pages, &t, why) == 0);
    CHECK(t->ops->arm_first(t, &first) == 0);
    CHECK(hl_pages_count(&first) == 1 && touched(&map) == each);
    CHECK(hl_arm_all(t) == 0); /* as after a guess */
    CHECK(touched(&map) == each);
    CHECK(t->ops->collect(t, &dirty) == 0 && hl_pages_count(&dirty) == 0);

    /* Reading is not touching; a write is, and is seen until it is armed. */
    CHECK(*(volatile char *)(addr + page) == 0);
    CHECK(t->ops->collect(t, &dirty) == 0 && hl_pages_count(&dirty) == 0);
    addr[4 * each * page + 3 * page] = 1;
    for (int i = 0; i < 2; i++) {
        CHECK(t->ops->collect(t, &dirty) == 0);
        CHECK(hl_pages_count(&dirty) == 1 &&
              hl_pages_has(&dirty, 4 * each + 3));
    }
    t->ops->arm(t, &dirty);
    CHECK(touched(&map) == 2 * each + 1);
    hl_pages_empty(&dirty);
    CHECK(t->ops->collect(t, &dirty) == 0 && hl_pages_count(&dirty) == 0);
    t->ops->close(t, false);
    hl_pages_free(&dirty);
    hl_pages_free(&first);
    hl_map_destroy(&map);
}

/* What kernels that do not report it as written are asked for. */
static void a_dropped_huge_page_is_absent(void)
{
    struct hl_pages found;
    struct hl_scan scan;
    struct hl_tracker *t;
    struct hl_map map;
    char why[HL_WHY_SIZE];

    CHECK(hl_map_create(&map, BLOCKS * hl_huge_size(), HL_HUGE_ALWAYS) == 0);
    memset(map.addr, 7, map.size);
    CHECK(hl_track_uffd.open(map.addr, BLOCKS * each, &t, why) == 0);
    CHECK(hl_arm_all(t) == 0);
    CHECK(madvise((char *)map.addr + hl_huge_size(), hl_huge_size(),
                  MADV_DONTNEED) == 0);
    CHECK(madvise((char *)map.addr + 9 * page, page, MADV_DONTNEED) == 0);
    CHECK(hl_pages_init(&found, BLOCKS * each) == 0);
    CHECK(hl_scan_open(&scan) == 0);
    CHECK(hl_scan_find(&scan, HL_SCAN_ABSENT, map.addr,
                       (struct hl_run){0, BLOCKS * each}, &found) == 0);
    CHECK(hl_pages_count(&found) == each + 1);
    CHECK(hl_pages_has(&found, 9) && hl_pages_has(&found, each) &&
          hl_pages_has(&found, 2 * each - 1));
    t->ops->close(t, false);
    hl_pages_free(&found);
    hl_map_destroy(&map);
}

#define SNAPSHOTS 6

/* Some pages in the middle of nowhere, or a whole block and more. */
static struct hl_run some_pages(size_t pages)
{
    struct hl_run run = {next_random(&seed) % pages, 1};

    if (next_random(&seed) % 4 == 0)
        run.count = 1 + next_random(&seed) % (pages - run.first);
    else if (next_random(&seed) % 2)
        run.count = 1 + next_random(&seed) % 3 % (pages - run.first);
    return run;
}

static void change(char *addr, size_t pages, bool drops)
{
    struct hl_run run = some_pages(pages);
    char *at = addr + run.first * page;
    uint64_t how = next_random(&seed) % 8;

    if (how == 0 && drops)
        CHECK(madvise(at, run.count * page, MADV_DONTNEED) == 0);
    else if (how == 1)
        for (size_t i = 0; i < run.count; i++)
            (void)*(volatile char *)(at + i * page);
    else if (how < 5)
        *at = (char)next_random(&seed);
    else
        memset(at, (int)(next_random(&seed) % 3), run.count * page);
}

static void one_history(const struct hl_tracker_ops *ops, enum hl_huge huge)
{
    size_t pages = BLOCKS * each - 30, size = pages * page;
    struct hl_snapshot *s[SNAPSHOTS];
    char *copies[SNAPSHOTS], why[HL_WHY_SIZE];
    struct hl_applied done;
    struct hl_manager *m;
    struct hl_map map;

    CHECK(hl_map_create(&map, BLOCKS * hl_huge_size(), huge) == 0);
    char *addr = (char *)map.addr + 11 * page;
    for (int i = 0; i < 3; i++)
        change(addr, pages, false);
    CHECK(hl_manager_new(addr, pages, ops, next_random(&seed) & 1, &m, why) ==
          0);
    size_t taken = 0;
    for (int i = 0; i < FEWER_IF_SLOW(50); i++) {
        for (uint64_t k = next_random(&seed) % 4; k > 0; k--)
            change(addr, pages, ops->sees_drops);
        size_t which = next_random(&seed) % (taken + 1);
        if (which == taken && taken < SNAPSHOTS) {
            CHECK(hl_manager_take(m, &s[taken]) == 0);
            copies[taken] = malloc(size);
            memcpy(copies[taken++], addr, size);
        } else {
            which %= taken;
            CHECK(hl_manager_restore(m, s[which], &done) == 0);
            CHECK(memcmp(addr, copies[which], size) == 0);
        }
    }
    while (taken > 0) {
        free(copies[--taken]);
        hl_snapshot_unref(s[taken]);
    }
    hl_manager_free(m);
    hl_map_destroy(&map);
}

/* The uffd tracker with other threads, as it were: what happens to the page
 * `racy` before it is armed, and after. */
static struct {
    char *racy;
    bool drop, write;
} meanwhile;

static void arm_meanwhile(struct hl_tracker *t, const struct hl_pages *pages)
{
    if (meanwhile.drop)
        CHECK(madvise(meanwhile.racy, page, MADV_DONTNEED) == 0);
    hl_track_uffd.arm(t, pages);
    if (meanwhile.write)
        memset(meanwhile.racy, 'X', page);
    meanwhile.drop = meanwhile.write = false;
}

static struct hl_tracker_ops meanwhile_ops;

static int open_meanwhile(void *addr, size_t pages, struct hl_tracker **out,
                          char *why)
{
    int err = hl_track_uffd.open(addr, pages, out, why);

    if (err == 0)
        (*out)->ops = &meanwhile_ops;
    return err;
}

static void drop_and_restore(struct hl_manager *m, struct hl_snapshot *s)
{
    struct hl_applied done;
    char x[1];

    hl_snapshot_read(s, 3 * each * page, 1, x);
    CHECK(x[0] == 'X' && meanwhile.racy[0] == 'X');
    CHECK(madvise(meanwhile.racy, page, MADV_DONTNEED) == 0);
    CHECK(hl_manager_restore(m, s, &done) == 0);
    CHECK(meanwhile.racy[page - 1] == 'X');
}

/* An absent page is written after it was armed, and before it is looked at;
 * later it is dropped, and so absent again. */
static void written_once_armed_and_dropped(void)
{
    struct hl_snapshot *s[3];
    struct hl_applied done;
    struct hl_manager *m[2];
    struct hl_map maps[2];
    char why[HL_WHY_SIZE];

    meanwhile_ops = hl_track_uffd;
    meanwhile_ops.open = open_meanwhile;
    meanwhile_ops.arm = arm_meanwhile;
    for (int i = 0; i < 2; i++) {
        CHECK(hl_map_create(&maps[i], BLOCKS * hl_huge_size(),
                            HL_HUGE_NEVER) == 0);
        CHECK(hl_manager_new(maps[i].addr, BLOCKS * each, &meanwhile_ops, true,
                             &m[i], why) == 0);
        CHECK(hl_manager_take(m[i], &s[i]) == 0);
    }
    meanwhile.racy = (char *)maps[0].addr + 3 * each * page;
    hl_inject_plan(HL_INJECT_COLLECT, 0, 1); /* then all is armed */
    meanwhile.write = true;
    CHECK(hl_manager_take(m[0], &s[2]) == 0);
    drop_and_restore(m[0], s[2]);

    meanwhile.racy = (char *)maps[1].addr + 3 * each * page;
    meanwhile.drop = meanwhile.write = true;
    CHECK(hl_manager_restore(m[1], s[2], &done) == 0);
    drop_and_restore(m[1], s[2]);
    for (int i = 0; i < 3; i++)
        hl_snapshot_unref(s[i]);
    for (int i = 0; i < 2; i++) {
        hl_manager_free(m[i]);
        hl_map_destroy(&maps[i]);
    }
}

/* The kernel armed pages of a block that has just been marked, and failed: one
 * that was written since it was collected is among them. */
static void a_failure_forgets_no_write(void)
{
    for (unsigned skip = 0; skip < 3; skip++) {
        struct hl_pages all, asked, dirty;
        struct hl_pages *const sets[] = {&all, &asked, &dirty};
        struct hl_tracker *t;
        struct hl_map map;
        char why[HL_WHY_SIZE];

        CHECK(hl_map_create(&map, 2 * each * page, HL_HUGE_NEVER) == 0);
        CHECK(hl_track_uffd.open(map.addr, 2 * each, &t, why) == 0);
        for (int i = 0; i < 3; i++)
            CHECK(hl_pages_init(sets[i], 2 * each) == 0);
        hl_pages_fill(&all);
        t->ops->arm(t, &all);
        hl_pages_add(&asked, 7);
        *((char *)map.addr + 7 * page) = 1;
        CHECK(t->ops->collect(t, &dirty) == 0 && hl_pages_count(&dirty) == 1);
        *((char *)map.addr + 9 * page) = 1;
        hl_inject_plan(HL_INJECT_SCAN, skip, 1);
        t->ops->arm(t, &asked);
        hl_pages_empty(&dirty);
        CHECK(t->ops->collect(t, &dirty) == 0);
        CHECK(hl_pages_has(&dirty, 7) && hl_pages_has(&dirty, 9));
        hl_inject_plan(HL_INJECT_SCAN, 0, 0);
        t->ops->close(t, false);
        for (int i = 0; i < 3; i++)
            hl_pages_free(sets[i]);
        hl_map_destroy(&map);
    }
}

/* In each epoch that a block is not dirty in, others may be mended. */
static void all_are_ripe_within_64(void)
{
    size_t blocks = 300, pages = (blocks + 1) * each, mended = 0;
    struct hl_pages dirty;
    struct hl_split split;
    struct hl_run run;

    CHECK(hl_pages_init(&dirty, pages) == 0);
    CHECK(hl_split_init(&split, (void *)(7 * page), pages) == 0);
    if (!hl_huge_is_wanted()) {
        CHECK(split.end == 0);
        printf("skipped: huge pages are not made here\n");
        hl_pages_free(&dirty);
        return;
    }
    for (size_t i = 0; i < blocks; i++)
        hl_pages_add(&dirty, (i + 1) * each - 7);
    hl_split_epoch(&split, &dirty);
    CHECK(!hl_split_next(&split, &run));
    hl_pages_empty(&dirty);
    hl_pages_add(&dirty, 0); /* in no block of ours */
    for (int epoch = 0; epoch < 63; epoch++) {
        hl_split_epoch(&split, &dirty);
        for (size_t now = 0; hl_split_next(&split, &run); now++) {
            CHECK(now < (blocks + 39) / 40);
            CHECK(run.count == each && (run.first + 7) % each == 0);
            hl_split_done(&split, run, true);
            mended++;
        }
    }
    CHECK(mended == blocks && hl_pages_count(&split.blocks) == 0);
    hl_split_free(&split);
    hl_pages_free(&dirty);
}

static atomic_bool stop;

static void *write_now_and_then(void *argument)
{
    uint64_t mine = 5;

    while (!atomic_load(&stop)) {
        nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
        for (int i = 0; i < 200; i++)
            __atomic_store_n((char *)argument +
                                 next_random(&mine) % (BLOCKS * each) * page,
                             (char)next_random(&mine), __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* What is written while a huge page is made whole is reported. */
static void mended_under_writes(void)
{
    struct hl_manager_stats stats;
    struct hl_applied done;
    struct hl_snapshot *s;
    struct hl_manager *m;
    struct hl_map map;
    pthread_t writer;
    char why[HL_WHY_SIZE];
    uint64_t *missed = calloc(BLOCKS * each / 64, 8);

    CHECK(hl_map_create(&map, BLOCKS * hl_huge_size(), HL_HUGE_ALWAYS) == 0);
    memset(map.addr, 7, map.size);
    CHECK(hl_manager_new(map.addr, BLOCKS * each, &hl_track_uffd, false, &m,
                         why) == 0);
    CHECK(hl_manager_take(m, &s) == 0);
    atomic_store(&stop, false);
    CHECK(pthread_create(&writer, NULL, write_now_and_then, map.addr) == 0);
    hl_inject_plan(HL_INJECT_RIPE, 0, UINT32_MAX);
    for (int i = 0; i < FEWER_IF_SLOW(1000); i++) {
        CHECK(hl_manager_restore(m, s, &done) == 0);
        CHECK(hl_manager_verify(m, NULL, missed) == 0);
    }
    hl_inject_plan(HL_INJECT_RIPE, 0, 0);
    atomic_store(&stop, true);
    CHECK(pthread_join(writer, NULL) == 0);
    CHECK(hl_manager_stats(m, &stats) == 0);
    printf("%zu huge pages made whole, %zu pages raced\n",
           stats.counts.collapsed, stats.counts.raced);
    hl_snapshot_unref(s);
    hl_manager_free(m);
    hl_map_destroy(&map);
    free(missed);
}

int main(void)
{
    page = hl_page_size();
    each = page / sizeof(uint64_t);
    RUN(blocks_are_as_marked);
    RUN(all_are_ripe_within_64);
    char why[HL_WHY_SIZE] = "";
    if (hl_track_uffd.probe(why) < 0) {
        printf("skipped uffd: %s\n", why);
    } else {
        RUN(untouched_blocks_stay_bare);
        RUN(a_dropped_huge_page_is_absent);
        RUN(written_once_armed_and_dropped);
        RUN(a_failure_forgets_no_write);
        if (hl_huge_is_wanted())
            RUN(mended_under_writes);
    }
    for (size_t i = 0; i < hl_tracker_count; i++) {
        if (hl_trackers[i]->probe(why) < 0) {
            printf("skipped %s: %s\n", hl_trackers[i]->name, why);
            continue;
        }
        for (int k = 0; k < 12; k++) {
            hl_inject_plan(HL_INJECT_RIPE, 0, k % 4 > 1 ? UINT32_MAX : 0);
            one_history(hl_trackers[i],
                        k % 2 ? HL_HUGE_ALWAYS : HL_HUGE_NEVER);
        }
        printf("ok histories of %s\n", hl_trackers[i]->name);
        fflush(stdout);
    }
    CHECK(hl_manager_count() == 0 && hl_map_count() == 0);
    return 0;
}
