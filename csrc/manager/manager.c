#include "manager/manager.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "os/lock.h"
#include "os/others.h"

struct hl_manager {
    struct hl_lock lock; /* first: cast in in_child; guards `region` */
    atomic_uint refs;
    atomic_bool ended;   /* changes once, with the lock held */
    atomic_bool settled; /* others can reach it, or will never */
    const char *_Atomic tracker;
    struct hl_region region;
};

static atomic_size_t live;

size_t hl_manager_count(void) { return atomic_load(&live); }

/* Take the lock; -EBADF without it if the manager is closed. */
static int enter(struct hl_manager *m)
{
    hl_lock_acquire(&m->lock);
    /* A dozen passes over the marks of sets, if there is nothing in them. */
    hl_spend(m->region.page_count / 1024);
    if (!atomic_load(&m->ended))
        return 0;
    hl_lock_release(&m->lock);
    return -EBADF;
}

static void note_tracker(struct hl_manager *m)
{
    const struct hl_region *r = &m->region;
    atomic_store(&m->tracker,
                 (r->tracker ? r->tracker->ops : r->wanted)->name);
}

/* After enter: release the lock, then drop what the call replaced. */
static void leave(struct hl_manager *m)
{
    struct hl_snapshot *snapshot = m->region.old_current;
    struct hl_store *store = m->region.old_store;

    m->region.old_current = NULL;
    m->region.old_store = NULL;
    note_tracker(m);
    hl_lock_release(&m->lock);
    if (snapshot)
        hl_snapshot_unref(snapshot);
    if (store)
        hl_store_unref(store);
}

static void exchange(void **at, void **value)
{
    void *old = __atomic_exchange_n(at, *value, __ATOMIC_SEQ_CST);
    *value = old;
}

/* The snapshot became current: so says the caller's record, too. */
static void write_mirror(struct hl_mirror *mirror)
{
    if (mirror == NULL)
        return;
    exchange(mirror->current, &mirror->new_current);
    if (mirror->top)
        exchange(mirror->top, &mirror->new_top);
}

/* Only calls that hold the lock change the top. */
static bool is_stale(const struct hl_mirror *mirror)
{
    return mirror && mirror->top &&
           __atomic_load_n(mirror->top, __ATOMIC_SEQ_CST) != mirror->old_top;
}

/* In a child, for a manager that a thread of the parent was making.  Its
 * memory is lost with that thread's stack, but its claim must be released. */
static void in_child(struct hl_lock *lock)
{
    struct hl_manager *m = (struct hl_manager *)lock;

    if (atomic_load(&m->settled) || atomic_load(&m->ended))
        return;
    if (m->region.claimed)
        atomic_fetch_sub(&live, 1);
    hl_region_end(&m->region, true);
    atomic_store(&m->ended, true);
}

/* What `blank` was made of, in a manager. */
static int make(struct hl_region blank, bool settled, struct hl_manager **out,
                char *why)
{
    struct hl_manager *m = calloc(1, sizeof *m);
    if (m == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    m->region = blank;
    atomic_init(&m->refs, 1);
    int err = hl_region_init(&m->region, why);
    if (err < 0)
        goto fail;

    hl_lock_init(&m->lock, HL_RANK_MANAGER);
    m->lock.in_child = in_child;
    /* Held, so that a fork finds it made or not begun. */
    hl_lock_acquire(&m->lock);
    err = hl_region_start(&m->region, why);
    if (err == 0) {
        note_tracker(m);
        atomic_store(&m->settled, settled);
        atomic_fetch_add(&live, 1);
        *out = m;
    }
    hl_lock_release(&m->lock);
    if (err == 0)
        return 0;
    hl_lock_destroy(&m->lock);

fail:
    hl_region_free(&m->region);
    free(m);
    return err;
}

int hl_manager_begin(void *memory, size_t page_count, bool borrowed,
                     const struct hl_tracker_ops *tracker, bool adaptive,
                     struct hl_manager **out, char *why)
{
    struct hl_region blank = {
        .memory = memory,
        .page_count = page_count,
        .adaptive = adaptive,
        .borrowed = borrowed,
        .wanted = tracker,
    };
    return make(blank, false, out, why);
}

struct wanted {
    struct hl_region blank;
    struct hl_manager **out;
};

static int try_one(void *context, struct hl_candidate candidate, char *why)
{
    struct wanted *w = context;

    w->blank.wanted = candidate.ops;
    return hl_refusal(make(w->blank, false, w->out, why));
}

int hl_manager_begin_with(void *memory, size_t page_count, bool borrowed,
                          const char *tracker, bool adaptive,
                          struct hl_manager **out, struct hl_choice *choice,
                          char *why)
{
    struct hl_wish wish = {.name = tracker, .page_count = page_count};
    struct wanted w = {
        .blank = {.memory = memory,
                  .page_count = page_count,
                  .adaptive = adaptive,
                  .borrowed = borrowed},
        .out = out,
    };
    return hl_choose(&wish, try_one, &w, choice, why);
}

void hl_manager_settle(struct hl_manager *m)
{
    atomic_store(&m->settled, true);
}

int hl_manager_new(void *memory, size_t page_count,
                   const struct hl_tracker_ops *tracker, bool adaptive,
                   struct hl_manager **out, char *why)
{
    int err = hl_manager_begin(memory, page_count, false, tracker, adaptive,
                               out, why);
    if (err == 0)
        hl_manager_settle(*out);
    return err;
}

int hl_manager_adopt(struct hl_tracker *tracker, bool adaptive,
                     struct hl_manager **out, char *why)
{
    struct hl_region blank = {
        .memory = tracker->addr,
        .page_count = tracker->page_count,
        .adaptive = adaptive,
        .wanted = tracker->ops,
        .tracker = tracker,
    };
    return make(blank, true, out, why);
}

struct hl_manager *hl_manager_ref(struct hl_manager *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void hl_manager_unref(struct hl_manager *m)
{
    if (atomic_fetch_sub(&m->refs, 1) > 1)
        return;
    (void)hl_manager_close(m, NULL);
    hl_lock_destroy(&m->lock);
    free(m);
}

/* *kept: the tracker, which stays open; NULL: it is closed. */
static bool end(struct hl_manager *m, struct hl_mirror *mirror,
                struct hl_tracker **kept)
{
    hl_spend(m->region.page_count * HL_COST_ARM);
    if (enter(m) < 0)
        return false;
    if (kept && !hl_region_forked(&m->region)) {
        *kept = m->region.tracker;
        m->region.tracker = NULL;
    }
    hl_region_end(&m->region, hl_region_forked(&m->region));
    write_mirror(mirror);
    atomic_store(&m->ended, true);
    leave(m);
    /* Nobody else enters any more. */
    hl_region_free(&m->region);
    atomic_fetch_sub(&live, 1);
    return true;
}

bool hl_manager_close(struct hl_manager *m, struct hl_mirror *mirror)
{
    return end(m, mirror, NULL);
}

struct hl_tracker *hl_manager_give_back(struct hl_manager *m)
{
    struct hl_tracker *tracker = NULL;

    (void)end(m, NULL, &tracker);
    return tracker;
}

void hl_manager_free(struct hl_manager *m)
{
    (void)hl_manager_close(m, NULL);
    hl_manager_unref(m);
}

bool hl_manager_ended(const struct hl_manager *m)
{
    return atomic_load(&m->ended);
}

const char *hl_manager_tracker(const struct hl_manager *m)
{
    return atomic_load(&m->tracker);
}

size_t hl_manager_page_count(const struct hl_manager *m)
{
    return m->region.page_count;
}

struct hl_snapshot *hl_manager_current(const struct hl_manager *m)
{
    return m->region.current;
}

int hl_manager_take(struct hl_manager *m, struct hl_snapshot **out)
{
    return hl_manager_take_as(m, out, NULL);
}

int hl_manager_take_as(struct hl_manager *m, struct hl_snapshot **out,
                       struct hl_mirror *mirror)
{
    int err = enter(m);
    if (err < 0)
        return err;
    err = is_stale(mirror) ? -EAGAIN : hl_region_take(&m->region, out);
    if (err == 0)
        write_mirror(mirror);
    leave(m);
    return err;
}

/* What a call is about; NULL stands for what is current. */
static int choose(const struct hl_manager *m,
                  const struct hl_snapshot **snapshot)
{
    if (*snapshot == NULL)
        *snapshot = m->region.current;
    if (*snapshot == NULL)
        return -ENODATA;
    return hl_snapshot_page_count(*snapshot) == m->region.page_count ? 0
                                                                     : -EINVAL;
}

int hl_manager_restore(struct hl_manager *m, struct hl_snapshot *snapshot,
                       struct hl_applied *done)
{
    struct hl_done all;
    int err = hl_manager_restore_as(m, snapshot, NULL, &all);
    if (err == 0)
        *done = all.applied;
    return err;
}

int hl_manager_restore_as(struct hl_manager *m, struct hl_snapshot *snapshot,
                          struct hl_mirror *mirror, struct hl_done *done)
{
    const struct hl_snapshot *chosen = snapshot;
    int err = enter(m);
    if (err < 0)
        return err;
    err = is_stale(mirror) ? -EAGAIN : choose(m, &chosen);
    if (err == 0)
        err = hl_region_restore(&m->region, (struct hl_snapshot *)chosen,
                                &done->applied);
    if (err == 0)
        write_mirror(mirror);
    leave(m);
    done->tracker = hl_manager_tracker(m);
    return err;
}

void hl_manager_expect(struct hl_manager *m, struct hl_run run)
{
    size_t total = m->region.page_count;

    /* Does not wait for a call under way: then pages are found dirty one by
     * one, which is slower but also correct. */
    if (run.first >= total || run.count > total - run.first ||
        !hl_lock_try(&m->lock))
        return;
    if (!atomic_load(&m->ended))
        hl_region_expect(&m->region, run);
    hl_lock_release(&m->lock);
}

void hl_manager_written(struct hl_manager *m, struct hl_run run)
{
    size_t total = m->region.page_count;

    if (run.first >= total)
        return;
    if (run.count > total - run.first)
        run.count = total - run.first;
    if (enter(m) < 0) /* it was closed, or is the parent's */
        return;
    hl_pages_add_range(&m->region.pending, run);
    leave(m);
}

void hl_manager_scratch(struct hl_manager *m, struct hl_run pages)
{
    m->region.scratch = pages;
}

int hl_manager_dirty(struct hl_manager *m, uint64_t *bits)
{
    int err = enter(m);
    if (err < 0)
        return err;
    err = hl_region_dirty(&m->region, bits);
    leave(m);
    return err;
}

static int changed(struct hl_manager *m, const struct hl_snapshot *snapshot,
                   bool everything, uint64_t *bits)
{
    int err = enter(m);
    if (err < 0)
        return err;
    err = choose(m, &snapshot);
    if (err == 0)
        err = hl_region_changed(&m->region, snapshot, everything, bits);
    leave(m);
    return err;
}

int hl_manager_changed(struct hl_manager *m,
                       const struct hl_snapshot *snapshot, uint64_t *bits)
{
    return changed(m, snapshot, false, bits);
}

int hl_manager_differing(struct hl_manager *m,
                         const struct hl_snapshot *snapshot, uint64_t *bits)
{
    return changed(m, snapshot, true, bits);
}

ssize_t hl_manager_verify(struct hl_manager *m,
                          const struct hl_snapshot *snapshot, uint64_t *missed)
{
    ssize_t found = enter(m);
    if (found < 0)
        return found;
    found = choose(m, &snapshot);
    if (found == 0)
        found = hl_region_verify(&m->region, snapshot, missed);
    leave(m);
    return found;
}

int hl_manager_stats(struct hl_manager *m, struct hl_manager_stats *stats)
{
    int err = enter(m);
    if (err < 0)
        return err;
    note_tracker(m);
    *stats = (struct hl_manager_stats){
        .tracker = hl_manager_tracker(m),
        .pages = m->region.page_count,
        .hot = m->region.hot.count,
        .counts = m->region.stats,
    };
    hl_store_usage(m->region.store, &stats->store);
    leave(m);
    return 0;
}
