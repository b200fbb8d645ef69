/* What a restore un-arms, writes and arms, by a tracker that counts it. */
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "manager/manager.h"
#include "os/map.h"
#include "stores.h"
#include "track/range.h"

#define WIDE ((size_t)512)
#define MOST ((size_t)4096)

/* A tracker of no memory: pages are open until they are armed, and the test
 * says what was written. */
static struct hl_pages open_pages;
static unsigned armings[MOST]; /* of each page */
static struct hl_run disarmed[MOST];
static size_t disarms, arm_calls;
/* Written by "another thread", after it was copied and before it is armed. */
static size_t raced[4], race_count;

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    (void)t;
    hl_pages_or(dirty, &open_pages);
    return 0;
}

static void arm(struct hl_tracker *t, const struct hl_pages *pages)
{
    struct hl_run run;

    arm_calls++;
    for (size_t i = 0; i < race_count; i++)
        if (hl_pages_has(pages, raced[i]))
            t->addr[raced[i] * PAGE + 9]++;
    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        for (size_t i = 0; i < run.count; i++)
            armings[run.first + i]++;
    hl_pages_andnot(&open_pages, pages);
}

static void leave_unarmed(struct hl_tracker *t, const struct hl_pages *pages)
{
    (void)t;
    hl_pages_or(&open_pages, pages);
}

static int arm_first(struct hl_tracker *t, struct hl_pages *touched)
{
    (void)t;
    hl_pages_fill(touched);
    hl_pages_empty(&open_pages);
    return 0;
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    disarmed[disarms++] = run;
    hl_pages_add_range(&open_pages, run);
}

static void close_it(struct hl_tracker *t, bool forked)
{
    (void)forked;
    hl_pages_free(&open_pages);
    free(t);
}

static int open_it(void *addr, size_t page_count, struct hl_tracker **out,
                   char *why);

static const struct hl_tracker_ops counting = {
    .name = "counting",
    .kernel_writes = true,
    .arms = true,
    .collect_cost = 1,
    .disarm_cost = 10,
    .open = open_it,
    .collect = collect,
    .arm = arm,
    .leave_unarmed = leave_unarmed,
    .arm_first = arm_first,
    .disarm = disarm,
    .close = close_it,
};

static int open_it(void *addr, size_t page_count, struct hl_tracker **out,
                   char *why)
{
    struct hl_tracker *t = calloc(1, sizeof *t);
    CHECK(t != NULL && hl_pages_init(&open_pages, page_count) == 0);
    (void)why;
    *t = (struct hl_tracker){.ops = &counting,
                             .addr = addr,
                             .page_count = page_count,
                             .page_size = PAGE};
    *out = t;
    return 0;
}

struct bed {
    struct hl_map map;
    struct hl_manager *manager;
    struct hl_snapshot *near, *far; /* near is current */
};

static char *page_of(const struct bed *b, size_t page)
{
    return (char *)b->map.addr + page * PAGE;
}

static struct hl_applied restore(const struct bed *b, struct hl_snapshot *s)
{
    struct hl_applied done;

    memset(armings, 0, sizeof armings);
    disarms = arm_calls = 0;
    CHECK(hl_manager_restore(b->manager, s, &done) == 0);
    return done;
}

static struct hl_manager_stats stats_of(const struct bed *b)
{
    struct hl_manager_stats stats;
    CHECK(hl_manager_stats(b->manager, &stats) == 0);
    return stats;
}

/* Pages that are none of the test's business. */
static size_t widened;

/* Two snapshots that differ in these pages. */
static struct bed new_bed(size_t page_count, bool adaptive,
                          const size_t *pages, size_t count)
{
    struct bed b;
    char why[HL_WHY_SIZE];

    race_count = 0;
    CHECK(hl_map_create(&b.map, page_count * PAGE, HL_HUGE_NEVER) == 0);
    for (size_t i = 0; i < page_count; i++)
        *page_of(&b, i) = 7;
    CHECK(hl_manager_new(b.map.addr, page_count, &counting, adaptive,
                         &b.manager, why) == 0);
    CHECK(hl_manager_take(b.manager, &b.near) == 0);
    for (size_t i = 0; i < count; i++) {
        *page_of(&b, pages[i]) = 8;
        hl_pages_add(&open_pages, pages[i]);
    }
    CHECK(hl_manager_take(b.manager, &b.far) == 0);
    /* That may be far already: until nothing of it is left. */
    for (int i = 0; i < 64; i++) {
        (void)restore(&b, b.near);
        if (stats_of(&b).hot == 0 && i > 3)
            break;
    }
    CHECK(stats_of(&b).hot == 0);
    widened = stats_of(&b).counts.widened;
    return b;
}

static void free_bed(struct bed *b)
{
    hl_snapshot_unref(b->near);
    hl_snapshot_unref(b->far);
    hl_manager_free(b->manager);
    hl_map_destroy(&b->map);
    CHECK(hl_range_count() == 0 && hl_manager_count() == 0);
    check_nothing_alive();
}

static size_t every_other(size_t *pages, size_t first, size_t end)
{
    size_t n = 0;
    for (size_t page = first; page < end; page += 2)
        pages[n++] = page;
    return n;
}

/* Few runs: each is un-armed, and what it was is armed again. */
static void near_ones_go_by_the_run(void)
{
    const size_t pages[] = {3, 4, 5, 100};
    struct bed b = new_bed(WIDE, true, pages, 4);

    struct hl_applied done = restore(&b, b.far);
    CHECK(done.copied == 4 && disarms == 2 && arm_calls == 1);
    CHECK(disarmed[0].first == 3 && disarmed[0].count == 3);
    CHECK(armings[3] == 1 && armings[100] == 1 && armings[6] == 0);
    CHECK(stats_of(&b).hot == 0 && stats_of(&b).counts.widened == widened);
    CHECK(*page_of(&b, 4) == 8 && *page_of(&b, 6) == 7);
    free_bed(&b);
}

/* Many: one step un-arms all of it, and nothing is armed or compared. */
static void far_ones_go_at_once(void)
{
    static size_t pages[MOST];
    size_t n = every_other(pages, 0, 3 * WIDE);
    struct bed b = new_bed(3 * WIDE, true, pages, n);

    struct hl_applied done = restore(&b, b.far);
    CHECK(done.copied == n && disarms == 1 && arm_calls == 0);
    CHECK(disarmed[0].first == 0 && disarmed[0].count == 3 * WIDE);
    CHECK(stats_of(&b).hot == 3 * WIDE);
    CHECK(stats_of(&b).counts.widened == widened + 3 * WIDE);
    for (size_t i = 0; i < 3 * WIDE; i++)
        CHECK(*page_of(&b, i) == (i % 2 ? 7 : 8));
    /* What was not written either may be by now: it counts as dirty. */
    *page_of(&b, 1) = 9;
    (void)restore(&b, b.far);
    CHECK(*page_of(&b, 1) == 7);
    free_bed(&b);
}

/* Only those stretches in which it is cheaper; the last may be short. */
static void wide_only_where_it_is_cheaper(void)
{
    static size_t pages[MOST];
    size_t n = every_other(pages, WIDE, 2 * WIDE);
    size_t total = 2 * WIDE + 70;
    pages[n++] = total - 1;
    struct bed b = new_bed(total, true, pages, n);

    struct hl_applied done = restore(&b, b.far);
    CHECK(done.copied == n && disarms == 2);
    CHECK(disarmed[0].first == WIDE && disarmed[0].count == WIDE);
    CHECK(disarmed[1].first == total - 1 && disarmed[1].count == 1);
    CHECK(stats_of(&b).hot == WIDE && armings[total - 1] == 1);
    CHECK(armings[WIDE] == 0 && armings[0] == 0);
    free_bed(&b);
}

/* rearm="always": every page is armed each time, whatever it costs. */
static void never_where_all_is_to_be_armed(void)
{
    static size_t pages[MOST];
    size_t n = every_other(pages, 0, WIDE);
    struct bed b = new_bed(WIDE, false, pages, n);

    (void)restore(&b, b.far);
    CHECK(disarms == n && armings[0] == 1 && armings[2] == 1);
    CHECK(stats_of(&b).hot == 0 && stats_of(&b).counts.widened == widened);
    free_bed(&b);
}

/* Armed in pieces of whole stretches, each page once, and a write between its
 * copy and its arming is found in any piece (M3). */
static void pieces_lose_no_write(void)
{
    static size_t pages[MOST];
    size_t n = 0;
    for (size_t i = 0; i < 3 * WIDE + 40; i++)
        if (i < WIDE || i >= 2 * WIDE + 10)
            pages[n++] = i;
    struct bed b = new_bed(MOST, false, pages, n);
    size_t before = stats_of(&b).counts.pieces;
    const size_t at[] = {0, 511, 2 * WIDE + 10, 3 * WIDE + 39};
    memcpy(raced, at, sizeof at);
    race_count = 4;

    (void)restore(&b, b.far);
    CHECK(stats_of(&b).counts.pieces - before >= 3 && arm_calls >= 3);
    for (size_t i = 0, found = 0; i < MOST; i++) {
        bool differs = found < n && pages[found] == i;
        CHECK(armings[i] == differs);
        CHECK(*page_of(&b, i) == (differs ? 8 : 7));
        found += differs;
    }
    CHECK(stats_of(&b).counts.raced == 4);
    race_count = 0;
    struct hl_applied done = restore(&b, b.far);
    CHECK(done.copied == 4);
    for (size_t i = 0; i < 4; i++)
        CHECK(page_of(&b, at[i])[9] == 0);
    free_bed(&b);
}

/* Few of them are one piece: the same. */
static void one_piece_loses_no_write(void)
{
    const size_t pages[] = {1, 2};
    struct bed b = new_bed(WIDE, true, pages, 2);
    raced[0] = 2;
    race_count = 1;
    (void)restore(&b, b.far);
    CHECK(stats_of(&b).counts.raced == 1);
    race_count = 0;
    CHECK(restore(&b, b.far).copied == 1 && page_of(&b, 2)[9] == 0);
    free_bed(&b);
}

int main(void)
{
    RUN(near_ones_go_by_the_run);
    RUN(far_ones_go_at_once);
    RUN(wide_only_where_it_is_cheaper);
    RUN(never_where_all_is_to_be_armed);
    RUN(pieces_lose_no_write);
    RUN(one_piece_loses_no_write);
    return 0;
}
