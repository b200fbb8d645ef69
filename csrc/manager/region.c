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
 *  M2. A hot page counts as dirty, written or not.  While every page is hot,
 *      the tracker is neither told nor asked anything, and all pages count as
 *      dirty.  Otherwise the tracker was told to leave the page unarmed, and
 *      reports it (T1); or the call that made it hot failed before that, and
 *      the page is still as dirty as that call found it (T4, M3).
 *  M3. Arming is what makes a tracker forget.  From before a page is armed
 *      until current agrees with it, the page is in `pending`, so a failure in
 *      between leaves it dirty.
 *  M4. A page that is armed by its absence (T7) was zero when it was armed.
 *      Where `current` has anything else, another thread wrote it afterwards,
 *      and may drop it unseen: it stays in `pending`, though it equals.
 *
 * take collects, arms what it found, and then copies it: what is written while
 * it copies is reported afterwards (T2), what was written before is read (T3).
 *
 * restore collects, copies back, and then arms, because writing to an armed
 * page would fault.  A write by another thread between the copying and the
 * arming of its page would be forgotten, so what was armed is compared once
 * more: one that differs stays in `pending`.  Hot pages need no comparison. */
#include "manager/region.h"

#include <stdlib.h>
#include <string.h>

#include "manager/collect.h"
#include "manager/heal.h"
#include "manager/putback.h"
#include "os/forked.h"
#include "os/map.h"
#include "os/others.h"
#include "os/vma.h"
#include "track/mappings.h"
#include "track/range.h"

/* The sets in one piece: in a GiB each takes 33 KiB, which malloc would give
 * back to the kernel with every manager, to fault them in again. */
static int allocate(struct hl_region *r)
{
    struct hl_pages *const sets[] = {&r->pending, &r->dirty, &r->todo,
                                     &r->differs, &r->piece};
    size_t words = hl_pages_words(r->page_count);
    int err = hl_hot_init(&r->hot, r->page_count,
                          hl_tracker_cost(r->wanted, r->page_count));

    r->sets = calloc(HL_ARRAY_SIZE(sets) * words, sizeof *r->sets);
    if (err == 0 && r->sets == NULL)
        err = -ENOMEM;
    for (size_t i = 0; i < HL_ARRAY_SIZE(sets) && err == 0; i++)
        hl_pages_place(sets[i], r->page_count, r->sets + i * words);
    if (err == 0 && r->wanted->walks_tables)
        err = hl_split_init(&r->split, r->memory, r->page_count);
    return err < 0 ? err : hl_store_new(&r->store, hl_page_size());
}

int hl_region_init(struct hl_region *r, char *why)
{
    if (r->page_count == 0 || r->page_count > HL_MAX_PAGES)
        return hl_why(why, -E2BIG,
                      "%zu pages are too many to manage: at most %zu",
                      r->page_count, HL_MAX_PAGES);
    r->generation = hl_fork_generation();
    int err = allocate(r);
    return err < 0 ? hl_why(why, err, "out of memory") : 0;
}

void hl_region_free(struct hl_region *r)
{
    struct hl_snapshot *const snapshots[] = {r->current, r->old_current};
    struct hl_store *const stores[] = {r->store, r->old_store};

    for (size_t i = 0; i < HL_ARRAY_SIZE(snapshots); i++)
        if (snapshots[i])
            hl_snapshot_unref(snapshots[i]);
    for (size_t i = 0; i < HL_ARRAY_SIZE(stores); i++)
        if (stores[i])
            hl_store_unref(stores[i]);
    hl_hot_free(&r->hot);
    hl_split_free(&r->split);
    free(r->sets);
    r->current = r->old_current = NULL;
    r->store = r->old_store = NULL;
    r->sets = NULL;
}

/* Check before the first take, which may read all of the memory: its owner may
 * have unmapped or replaced it since. */
static int look_again(struct hl_region *r)
{
    size_t size = r->page_count * hl_page_size();
    struct hl_vma vma;

    int err = hl_mappings_can_read(r->memory, size);
    if (err < 0)
        return err;
    r->zero_filled = r->zero_filled &&
                     hl_vma_query(r->memory, size, &vma) == 0 && vma.anonymous;
    return 0;
}

int hl_region_start(struct hl_region *r, char *why)
{
    size_t size = r->page_count * hl_page_size();

    int err = hl_range_claim(r->memory, size, why);
    if (err < 0)
        return err;
    if (r->tracker == NULL)
        err = hl_mappings_check(r->memory, size, &r->zero_filled, &r->fetched,
                                why);
    else
        r->zero_filled = true; /* a machine's, which is ours */
    if (err == 0 && r->tracker == NULL)
        err = r->wanted->open(r->memory, r->page_count, &r->tracker, why);
    if (err < 0)
        hl_range_release(r->memory);
    r->claimed = err == 0;
    return err;
}

void hl_region_end(struct hl_region *r, bool forked)
{
    if (!r->claimed)
        return;
    if (r->tracker)
        r->tracker->ops->close(r->tracker, forked);
    hl_range_release(r->memory);
    r->tracker = NULL;
    r->claimed = false;
}

/* Arm what is in r->todo, except for hot pages. */
static void arm_todo(struct hl_region *r)
{
    hl_region_leave_hot(r);
    if (hl_region_nothing_cold(r))
        return;
    r->tracker->armed = true;
    hl_region_spend(&r->todo, HL_COST_ARM + HL_COST_LOOK);
    r->tracker->ops->arm(r->tracker, &r->todo);
}

static void note_epoch(struct hl_region *r)
{
    if (r->current && !r->guess)
        hl_split_epoch(&r->split, &r->dirty);
    if (r->adaptive && r->current && !r->guess && r->tracker->ops->arms)
        hl_hot_epoch(&r->hot, &r->dirty);
}

/* Compare a sample of the hot pages with the snapshot.  Those that equal it
 * are taken out of `differs` (NULL: nobody asks), and may cool down. */
static void sample_hot(struct hl_region *r, const struct hl_snapshot *against,
                       struct hl_pages *differs)
{
    for (size_t at = 0, word; hl_hot_sample(&r->hot, &at, &word);) {
        for (uint64_t bits = r->hot.pages.bits[word]; bits; bits &= bits - 1) {
            size_t page = word * 64 + (size_t)__builtin_ctzll(bits);
            struct hl_run one = {page, 1};
            bool written = hl_compare(against, r->memory, one, NULL) != 0;
            hl_hot_looked(&r->hot, page, written);
            if (!written && differs)
                hl_pages_remove(differs, page);
        }
    }
    hl_hot_settle(&r->hot);
}

/* First take: arms every page.  What was never touched is known to be zero,
 * and so does not count as dirty. */
static int arm_first(struct hl_region *r)
{
    int err = look_again(r);
    if (err < 0)
        return err;
    hl_pages_empty(&r->dirty);
    hl_spend(r->page_count * HL_COST_ARM);
    r->tracker->armed = true;
    err = -EINVAL;
    if (r->zero_filled)
        err = r->tracker->ops->arm_first(r->tracker, &r->dirty);
    if (err < 0) { /* then everything is read */
        hl_pages_fill(&r->dirty);
        r->tracker->ops->arm(r->tracker, &r->dirty);
    }
    return 0;
}

/* Every page that may differ is about to be looked at. */
static int collect_to_look(struct hl_region *r)
{
    int err = hl_region_collect(r);
    if (err == 0)
        hl_region_spend(&r->dirty, HL_COST_LOOK);
    return err;
}

/* Which pages to read for a new snapshot, into r->dirty; armed, unless they
 * are hot, and pending until it is current (M3). */
static int prepare_take(struct hl_region *r)
{
    int err = collect_to_look(r);
    if (err < 0)
        return err;
    hl_pages_or(&r->pending, &r->dirty);
    if (r->current == NULL)
        return arm_first(r);

    hl_region_zero_scratch(r);
    note_epoch(r);
    err = hl_region_may_touch(r, &r->dirty, HL_PROT_READ);
    if (err < 0)
        return err;
    hl_pages_copy(&r->todo, &r->dirty);
    sample_hot(r, r->current, NULL);
    arm_todo(r);
    return 0;
}

/* From here on memory equals `snapshot` except for pages that the tracker
 * reports and those in `pending`. */
static void publish(struct hl_region *r, struct hl_snapshot *snapshot)
{
    struct hl_store *store = hl_snapshot_store(snapshot);

    r->old_current = r->current;
    r->current = hl_snapshot_ref(snapshot);
    r->guess = false;
    if (store != r->store) {
        r->old_store = r->store;
        r->store = hl_store_ref(store);
    }
}

int hl_region_take(struct hl_region *r, struct hl_snapshot **out)
{
    struct hl_capture capture = {0};
    struct hl_run run;
    int err = prepare_take(r);

    for (size_t at = 0; err == 0 && hl_pages_run(&r->dirty, &at, &run);)
        err = hl_capture_run(&capture, r->store, r->current, r->memory, run);
    if (err == 0)
        err = hl_snapshot_new(r->store, r->page_count, r->current,
                              capture.edits, capture.count, out);
    if (err < 0) {
        hl_capture_discard(&capture, r->store);
        return err;
    }
    hl_pages_empty(&r->pending);
    hl_region_doubt_absent(r, *out, &r->dirty, &r->pending);
    publish(r, *out);
    hl_region_heal(r);
    r->stats.takes++;
    r->stats.stored += capture.count;
    hl_capture_free(&capture);
    return 0;
}

/* Whether pages that may differ are compared before they are written: after a
 * guess, because unchanged pages may be shared with other processes; and in
 * memory that its owner changed, because an unchanged page may be closed. */
static bool compares(const struct hl_region *r)
{
    return r->guess || r->changed;
}

/* Put the pages that may differ from the snapshot into r->todo, given that
 * r->dirty may differ from current.  write: they are about to be written, so
 * check that they can be, except for those that are compared first, and un-arm
 * armed ones by the run. */
static int find_todo(struct hl_region *r, const struct hl_snapshot *snapshot,
                     bool write)
{
    const int touch = HL_PROT_READ | (compares(r) ? 0 : HL_PROT_WRITE);
    const bool all = !r->tracker->collected; /* then dirty has every page */
    int err = write ? hl_region_may_touch(r, &r->dirty, touch) : 0;

    hl_pages_empty(&r->todo);
    if (r->current && snapshot != r->current && !all) {
        hl_snapshot_diff(r->current, snapshot, &r->todo);
        hl_pages_andnot(&r->todo, &r->dirty);
        hl_region_spend(&r->todo, HL_COST_LOOK);
        if (write && err == 0)
            err = hl_region_may_touch(r, &r->todo, touch);
        if (write && err == 0)
            hl_region_unarm(r);
    }
    hl_pages_or(&r->todo, &r->dirty);
    return err;
}

static void compare(const struct hl_region *r,
                    const struct hl_snapshot *snapshot,
                    const struct hl_pages *pages, struct hl_pages *differs)
{
    struct hl_run run;

    for (size_t at = 0; hl_pages_run(pages, &at, &run);)
        hl_compare(snapshot, r->memory, run, differs);
}

/* What has to be written to make r->todo equal to the snapshot, into
 * r->differs: all of it but for unchanged hot pages, unless compares() says to
 * look first. */
static int find_differs(struct hl_region *r,
                        const struct hl_snapshot *snapshot)
{
    if (compares(r)) {
        hl_pages_empty(&r->differs);
        compare(r, snapshot, &r->todo, &r->differs);
        int err =
            hl_region_may_touch(r, &r->differs, HL_PROT_READ | HL_PROT_WRITE);
        if (err == 0 && !r->guess) /* a guess is no epoch */
            sample_hot(r, snapshot, &r->differs);
        return err;
    }
    hl_pages_copy(&r->differs, &r->todo);
    sample_hot(r, snapshot, &r->differs);
    return 0;
}

/* Whether there is nothing to ask and nothing to look at (M2): then this is a
 * copy of everything, and passes over sets would be a tenth of it in a small
 * region. */
static bool is_plain(const struct hl_region *r)
{
    return r->hot.count == r->page_count && r->current && r->tracker &&
           !r->guess && !r->borrowed && !r->fetched && !hl_region_forked(r) &&
           hl_hot_rests(&r->hot);
}

static int put_back(struct hl_region *r, struct hl_snapshot *snapshot,
                    struct hl_applied *done)
{
    int err = collect_to_look(r);
    if (err < 0)
        return err;

    note_epoch(r);
    err = find_todo(r, snapshot, true);
    if (err == -EACCES && !compares(r)) { /* which nobody could tell before */
        r->changed = true;
        err = find_todo(r, snapshot, true);
    }
    if (err < 0)
        return err;
    hl_pages_or(&r->pending, &r->todo);
    err = find_differs(r, snapshot);
    if (err < 0)
        return err;

    hl_region_put_back(r, snapshot, done);
    return 0;
}

int hl_region_restore(struct hl_region *r, struct hl_snapshot *snapshot,
                      struct hl_applied *done)
{
    int err = 0;

    *done = (struct hl_applied){0};
    if (is_plain(r))
        hl_region_put_back_all(r, snapshot, done);
    else
        err = put_back(r, snapshot, done);
    if (err < 0)
        return err;

    publish(r, snapshot);
    hl_region_heal(r);

    r->stats.restores++;
    r->stats.copied += done->copied;
    r->stats.zeroed += done->zeroed;
    r->stats.raced += hl_pages_count(&r->pending);
    return 0;
}

void hl_region_expect(struct hl_region *r, struct hl_run run)
{
    if (!hl_region_forked(r) && r->current && !hl_region_nothing_cold(r))
        r->tracker->ops->disarm(r->tracker, run);
    r->stats.expected += run.count;
}

int hl_region_dirty(struct hl_region *r, uint64_t *bits)
{
    int err = hl_region_collect(r);
    if (err == 0)
        hl_pages_read(&r->dirty, bits);
    return err;
}

int hl_region_changed(struct hl_region *r, const struct hl_snapshot *snapshot,
                      bool everything, uint64_t *bits)
{
    int err = hl_mappings_can_read(r->memory, r->page_count * hl_page_size());
    if (err == 0)
        err = collect_to_look(r);
    if (err < 0)
        return err;
    hl_spend(everything ? r->page_count * HL_COST_LOOK : 0);
    if (everything)
        hl_pages_fill(&r->todo);
    else
        (void)find_todo(r, snapshot, false);
    hl_pages_empty(&r->differs);
    compare(r, snapshot, &r->todo, &r->differs);
    hl_pages_read(&r->differs, bits);
    return 0;
}

ssize_t hl_region_verify(struct hl_region *r,
                         const struct hl_snapshot *snapshot, uint64_t *missed)
{
    struct hl_run everything = {0, r->page_count};
    int err = hl_mappings_can_read(r->memory, r->page_count * hl_page_size());
    if (err == 0)
        err = hl_region_collect(r);
    if (err < 0)
        return err;
    (void)find_todo(r, snapshot, false);
    hl_pages_empty(&r->differs);
    hl_spend(r->page_count * HL_COST_LOOK);
    hl_compare(snapshot, r->memory, everything, &r->differs);
    hl_pages_andnot(&r->differs, &r->todo);
    if (hl_pages_count(&r->differs) == 0)
        return 0;

    /* If another thread has written since, the page is reported by now. */
    err = hl_region_collect(r);
    if (err < 0)
        return err;
    hl_pages_andnot(&r->differs, &r->dirty);
    hl_pages_read(&r->differs, missed);
    return (ssize_t)hl_pages_count(&r->differs);
}
