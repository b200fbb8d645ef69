/* How take and restore keep their promises.
 *
 *   ARMED --collect--> COLLECTED --arm, copy--> COPIED --publish--> CURRENT
 *     ^                (take arms before it copies, restore after)     |
 *     +----------------------------------------------------------------+
 *
 * Invariants, whenever no call is under way:
 *
 *  M1. A page whose memory differs from `current` is in `pending` or reported
 *      by the tracker.  Without a current snapshot every page counts as dirty.
 *  M2. A hot page was left by the tracker, and is therefore always reported.
 *  M3. Arming is what makes a tracker forget.  From before a page is armed
 *      until current agrees with it, the page is in `pending`, so a failure in
 *      between leaves it dirty.
 *
 * take collects, arms what it found, and then copies it: what is written while
 * it copies is reported afterwards (T2), what was written before is read (T3).
 *
 * restore collects, copies back, and then arms, because writing to an armed
 * page would fault.  A write by another thread between the copying and the
 * arming of its page would be forgotten, so what was armed is compared once
 * more: one that differs stays in `pending`.  Hot pages need no such look. */
#include "manager.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hot.h"
#include "mem/forked.h"
#include "mem/map.h"
#include "mem/vma.h"
#include "track/range.h"

/* Arming splits huge pages, and copying all of small ones takes some 5 % more:
 * after so many such copies in a row, time is spent on making them whole. */
#define COLLAPSE_AFTER 16

struct hl_manager {
    char *memory;
    size_t page_count;
    const struct hl_tracker_ops *wanted;
    struct hl_tracker *tracker; /* NULL: a fork took it, none could be had */
    struct hl_store *store;     /* current's, or where the first take goes */
    struct hl_snapshot *current;
    bool zero_filled; /* memory that nobody touched is zero */
    bool adaptive;
    bool guess; /* the tracker could not tell: pending is every page */
    unsigned generation;
    unsigned plain_copies;   /* in a row: restores that copied everything */
    struct hl_pages pending; /* M1, M3 */
    struct hl_pages dirty;   /* of the call under way, like the next */
    struct hl_pages todo;
    struct hl_hot hot;
    struct hl_manager_stats stats;
};

static atomic_size_t live;

size_t hl_manager_count(void) { return atomic_load(&live); }

static int allocate(struct hl_manager *m, size_t collect_cost)
{
    struct hl_pages *const sets[] = {&m->pending, &m->dirty, &m->todo};
    int err = hl_hot_init(&m->hot, m->page_count, collect_cost);

    for (size_t i = 0; i < HL_ARRAY_SIZE(sets) && err == 0; i++)
        err = hl_pages_init(sets[i], m->page_count);
    return err < 0 ? err : hl_store_new(&m->store, hl_page_size());
}

static void release(struct hl_manager *m)
{
    if (m->current)
        hl_snapshot_unref(m->current);
    if (m->store)
        hl_store_unref(m->store);
    hl_hot_free(&m->hot);
    hl_pages_free(&m->pending);
    hl_pages_free(&m->dirty);
    hl_pages_free(&m->todo);
    free(m);
}

/* Claim the range, look at it, track it unless it is tracked. */
static int start_tracking(struct hl_manager *m, char *why)
{
    size_t size = m->page_count * hl_page_size();
    struct hl_vma vma;

    int err = hl_range_claim(m->memory, size, why);
    if (err < 0)
        return err;
    err = hl_vma_query(m->memory, size, &vma);
    if (err < 0) {
        (void)hl_why_vma(why, err);
    } else {
        m->zero_filled = vma.anonymous;
        if (m->tracker == NULL)
            err = m->wanted->open(m->memory, m->page_count, &m->tracker, why);
    }
    if (err < 0)
        hl_range_release(m->memory);
    return err;
}

static int make(struct hl_manager blank, struct hl_manager **out, char *why)
{
    if (blank.page_count == 0 || blank.page_count > HL_MAX_PAGES)
        return hl_why(why, -EINVAL, "%zu pages are too many",
                      blank.page_count);
    struct hl_manager *m = malloc(sizeof *m);
    if (m == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    *m = blank;
    m->generation = hl_fork_generation();

    int err = allocate(m, m->wanted->collect_cost);
    if (err < 0)
        (void)hl_why(why, err, "out of memory");
    else
        err = start_tracking(m, why);
    if (err < 0) {
        release(m);
        return err;
    }
    atomic_fetch_add(&live, 1);
    *out = m;
    return 0;
}

int hl_manager_new(void *memory, size_t page_count,
                   const struct hl_tracker_ops *tracker, bool adaptive,
                   struct hl_manager **out, char *why)
{
    struct hl_manager blank = {
        .memory = memory,
        .page_count = page_count,
        .adaptive = adaptive,
        .wanted = tracker,
    };
    return make(blank, out, why);
}

int hl_manager_adopt(struct hl_tracker *tracker, bool adaptive,
                     struct hl_manager **out, char *why)
{
    struct hl_manager blank = {
        .memory = tracker->addr,
        .page_count = tracker->page_count,
        .adaptive = adaptive,
        .wanted = tracker->ops,
        .tracker = tracker,
    };
    return make(blank, out, why);
}

static bool forked(const struct hl_manager *m)
{
    return m->generation != hl_fork_generation();
}

void hl_manager_free(struct hl_manager *m)
{
    if (m->tracker)
        m->tracker->ops->close(m->tracker, forked(m));
    hl_range_release(m->memory);
    release(m);
    atomic_fetch_sub(&live, 1);
}

struct hl_snapshot *hl_manager_current(const struct hl_manager *m)
{
    return m->current;
}

const char *hl_manager_tracker(const struct hl_manager *m)
{
    return (m->tracker ? m->tracker->ops : m->wanted)->name;
}

size_t hl_manager_page_count(const struct hl_manager *m)
{
    return m->page_count;
}

/* Every page may have changed, and nobody knows which. */
static void take_all_for_written(struct hl_manager *m)
{
    hl_pages_fill(&m->pending);
    m->guess = true;
    m->stats.guesses++;
}

/* In a child: what the kernel knew of our pages belongs to the parent. */
static int reopen(struct hl_manager *m)
{
    const struct hl_tracker_ops *const choices[] = {
        m->wanted, &hl_track_sigsegv, &hl_track_full};
    char why[HL_WHY_SIZE];
    struct hl_tracker *fresh = NULL;
    int err = -ENOMEM;

    if (m->wanted->open == NULL)
        return -ECHILD;
    if (m->tracker)
        m->tracker->ops->close(m->tracker, true);
    m->tracker = NULL;
    for (size_t i = 0; i < HL_ARRAY_SIZE(choices) && err < 0; i++)
        err = choices[i]->open(m->memory, m->page_count, &fresh, why);
    if (err < 0)
        return err;
    m->tracker = fresh;
    m->generation = hl_fork_generation();
    m->stats.reopened++;
    hl_hot_reset(&m->hot);
    take_all_for_written(m);
    return 0;
}

/* The pages that may differ from current, into m->dirty. */
static int collect(struct hl_manager *m)
{
    if (m->tracker == NULL || forked(m)) {
        int err = reopen(m);
        if (err < 0)
            return err;
    }
    hl_pages_empty(&m->dirty);
    /* With nothing armed there is nothing to ask. */
    if (m->hot.count == m->page_count || m->current == NULL)
        hl_pages_fill(&m->dirty);
    else if (m->tracker->ops->collect(m->tracker, &m->dirty) < 0)
        take_all_for_written(m);
    hl_pages_or(&m->dirty, &m->pending);
    return 0;
}

/* Whether any page is ever armed: else this is a plain copy, and the passes
 * over bitmaps would make it the slower one in a small region. */
static bool nothing_cold(const struct hl_manager *m)
{
    return !m->tracker->ops->arms || m->hot.count == m->page_count;
}

/* Arm those of the pages that are not hot; removes the others. */
static void arm_cold(struct hl_manager *m, struct hl_pages *pages)
{
    if (nothing_cold(m)) {
        hl_pages_empty(pages);
        return;
    }
    if (m->hot.count > 0) {
        m->tracker->ops->leave(m->tracker, &m->hot.pages);
        hl_pages_andnot(pages, &m->hot.pages);
    }
    m->tracker->ops->arm(m->tracker, pages);
}

static void note_epoch(struct hl_manager *m)
{
    if (m->adaptive && m->current && !m->guess && m->tracker->ops->arms)
        hl_hot_epoch(&m->hot, &m->dirty);
}

/* Compare a sample of the hot pages with the snapshot.  Those that equal it
 * are taken out of `copy` (NULL: there is none), and may cool down. */
static void sample_hot(struct hl_manager *m, const struct hl_snapshot *against,
                       struct hl_pages *copy)
{
    for (size_t at = 0, word; hl_hot_sample(&m->hot, &at, &word);) {
        for (uint64_t bits = m->hot.pages.bits[word]; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            struct hl_run one = {page, 1};
            bool written = hl_compare(against, m->memory, one, NULL) != 0;
            hl_hot_looked(&m->hot, page, written);
            if (!written && copy)
                hl_pages_remove(copy, page);
        }
    }
    hl_hot_settle(&m->hot);
}

/* First take: what was never touched is known to be zero and is not read. */
static int arm_first(struct hl_manager *m)
{
    int err = -EINVAL;

    hl_pages_empty(&m->todo);
    if (m->zero_filled)
        err = m->tracker->ops->arm_first(m->tracker, &m->todo);
    if (err < 0) { /* then everything is read */
        hl_pages_fill(&m->todo);
        m->tracker->ops->arm(m->tracker, &m->todo);
    }
    return 0;
}

/* Which pages to look at for a new snapshot, into m->todo; armed, and dirty
 * until it is current (M3). */
static int prepare_take(struct hl_manager *m)
{
    int err = collect(m);
    if (err < 0)
        return err;
    hl_pages_or(&m->pending, &m->dirty);
    if (m->current == NULL)
        return arm_first(m);

    note_epoch(m);
    sample_hot(m, m->current, NULL);
    hl_pages_copy(&m->todo, &m->dirty);
    arm_cold(m, &m->dirty);
    return 0;
}

/* From here on memory equals `snapshot` but for what the tracker reports and
 * what is in `pending`. */
static void publish(struct hl_manager *m, struct hl_snapshot *snapshot)
{
    struct hl_snapshot *old = m->current;
    struct hl_store *store = hl_snapshot_store(snapshot);

    m->current = hl_snapshot_ref(snapshot);
    m->guess = false;
    if (store != m->store) {
        hl_store_ref(store);
        hl_store_unref(m->store);
        m->store = store;
    }
    if (old)
        hl_snapshot_unref(old);
}

int hl_manager_take(struct hl_manager *m, struct hl_snapshot **out)
{
    struct hl_capture capture = {0};
    struct hl_run run;
    int err = prepare_take(m);

    for (size_t at = 0; err == 0 && hl_pages_run(&m->todo, &at, &run);)
        err = hl_capture_run(&capture, m->store, m->current, m->memory, run);
    if (err == 0)
        err = hl_snapshot_new(m->store, m->page_count, m->current,
                              capture.edits, capture.count, out);
    if (err < 0) {
        hl_capture_discard(&capture, m->store);
        return err;
    }
    hl_pages_empty(&m->pending);
    publish(m, *out);
    m->stats.takes++;
    m->stats.stored += capture.count;
    hl_capture_free(&capture);
    return 0;
}

/* The pages that may differ from the snapshot, into m->todo, given that
 * m->dirty may differ from current.  disarm: they are about to be written, so
 * un-arm by the run those that are armed. */
static void find_todo(struct hl_manager *m, const struct hl_snapshot *snapshot,
                      bool disarm)
{
    struct hl_run run;

    hl_pages_empty(&m->todo);
    if (m->current && snapshot != m->current) {
        hl_snapshot_diff(m->current, snapshot, &m->todo);
        hl_pages_andnot(&m->todo, &m->dirty);
        for (size_t at = 0; disarm && hl_pages_run(&m->todo, &at, &run);)
            m->tracker->ops->disarm(m->tracker, run);
    }
    hl_pages_or(&m->todo, &m->dirty);
}

static void compare(const struct hl_manager *m,
                    const struct hl_snapshot *snapshot,
                    const struct hl_pages *pages, struct hl_pages *differs)
{
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        hl_compare(snapshot, m->memory, run, differs);
}

/* Copy back what is in m->todo, or less of it, in m->dirty then.  Where `todo`
 * is no more than a guess, a page is only written if it differs: others may
 * share it. */
static void copy_back(struct hl_manager *m, struct hl_snapshot *snapshot,
                      struct hl_applied *done)
{
    struct hl_run run;

    if (m->guess) {
        hl_pages_empty(&m->dirty);
        compare(m, snapshot, &m->todo, &m->dirty);
    } else {
        hl_pages_copy(&m->dirty, &m->todo);
        sample_hot(m, snapshot, &m->dirty);
    }
    for (size_t at = 0; hl_pages_run(&m->dirty, &at, &run);)
        hl_apply(snapshot, m->memory, run, done);
}

static void collapse_if_worth(struct hl_manager *m)
{
    if (m->hot.count < m->page_count)
        m->plain_copies = 0;
    else if (m->plain_copies <= COLLAPSE_AFTER &&
             ++m->plain_copies == COLLAPSE_AFTER)
        m->stats.collapsed +=
            hl_map_collapse(m->memory, m->page_count * hl_page_size());
}

int hl_manager_restore(struct hl_manager *m, struct hl_snapshot *snapshot,
                       struct hl_applied *done)
{
    int err = collect(m);
    if (err < 0)
        return err;

    note_epoch(m);
    find_todo(m, snapshot, true);
    hl_pages_or(&m->pending, &m->todo);
    *done = (struct hl_applied){0};
    copy_back(m, snapshot, done);

    arm_cold(m, &m->todo);
    hl_pages_empty(&m->pending);
    compare(m, snapshot, &m->todo, &m->pending);
    publish(m, snapshot);
    collapse_if_worth(m);

    m->stats.restores++;
    m->stats.copied += done->copied;
    m->stats.zeroed += done->zeroed;
    m->stats.raced += hl_pages_count(&m->pending);
    return 0;
}

void hl_manager_expect(struct hl_manager *m, struct hl_run run)
{
    if (!forked(m) && m->current && !nothing_cold(m))
        m->tracker->ops->disarm(m->tracker, run);
    m->stats.expected += run.count;
}

int hl_manager_dirty(struct hl_manager *m, uint64_t *bits)
{
    int err = collect(m);
    if (err == 0)
        hl_pages_read(&m->dirty, bits);
    return err;
}

int hl_manager_changed(struct hl_manager *m,
                       const struct hl_snapshot *snapshot, uint64_t *bits)
{
    int err = collect(m);
    if (err < 0)
        return err;
    find_todo(m, snapshot, false);
    hl_pages_empty(&m->dirty);
    compare(m, snapshot, &m->todo, &m->dirty);
    hl_pages_read(&m->dirty, bits);
    return 0;
}

ssize_t hl_manager_verify(struct hl_manager *m,
                          const struct hl_snapshot *snapshot, uint64_t *missed)
{
    struct hl_run everything = {0, m->page_count};
    int err = collect(m);
    if (err < 0)
        return err;
    find_todo(m, snapshot, false);
    hl_pages_empty(&m->dirty);
    hl_compare(snapshot, m->memory, everything, &m->dirty);
    hl_pages_andnot(&m->dirty, &m->todo);
    if (hl_pages_count(&m->dirty) == 0)
        return 0;

    /* Another thread may have written since: then it is reported by now. */
    hl_pages_copy(&m->todo, &m->dirty);
    err = collect(m);
    if (err < 0)
        return err;
    hl_pages_andnot(&m->todo, &m->dirty);
    hl_pages_read(&m->todo, missed);
    return (ssize_t)hl_pages_count(&m->todo);
}

void hl_manager_stats(struct hl_manager *m, struct hl_manager_stats *stats)
{
    *stats = m->stats;
    stats->tracker = hl_manager_tracker(m);
    stats->pages = m->page_count;
    stats->hot = m->hot.count;
    hl_store_usage(m->store, &stats->store);
}
