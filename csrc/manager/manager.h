/* The manager: one region, one tracker, and the snapshots taken of it; rules
 * for their use, and for closing them.
 *
 * Threads: any thread may make any call at any time.  A manager's lock
 * (os/lock.h) is held inside each call from the first look at its state to
 * the last change, and only there: calls on one manager wait for each other,
 * and no Python code runs with it held.  A fork waits for calls under way.
 * Calls let other threads run where they take long (os/others.h).
 *
 * Life: counted references.  hl_manager_close ends the tracking and waits for
 * a call under way; later calls return -EBADF.  The struct itself is freed
 * with the last reference, so a thread that still has one gets that error
 * instead of a crash.  The memory must stay mapped and writable until
 * hl_manager_ended returns true, or close has returned.
 *
 * Fork: a child's manager reopens its tracker on first use, or another one if
 * that is unavailable, and treats every page as changed.  A manager that
 * another thread was making is ended in the child, where nothing refers to it.
 *
 * Mirrors: a caller may have an object of its own for each snapshot, and
 * record which of them is current, and which were pushed.  Two records of one
 * fact would disagree if an exception, a signal handler, another thread or a
 * fork came between two assignments, so the manager writes both: with its lock
 * held, in the call that makes a snapshot current. */
#ifndef HL_MANAGER_MANAGER_H
#define HL_MANAGER_MANAGER_H

#include "base.h"
#include "choose.h"
#include "manager/region.h"

struct hl_manager;

/* The caller's record.  The manager exchanges pointers and never follows one:
 * a caller that counts references passes one in with each new value, and has
 * to drop the old value that replaces it when the call has succeeded.  If the
 * call failed, nothing was exchanged. */
struct hl_mirror {
    void **current;    /* exchanged with... */
    void *new_current; /* ...this */
    void **top;        /* of a stack; NULL: there is none */
    void *old_top;     /* what it must be, or -EAGAIN: another was faster */
    void *new_top;
};

/* What a call did. */
struct hl_done {
    struct hl_applied applied;
    const char *tracker; /* as hl_manager_tracker */
};

/* Manage [memory, +page_count), which must stay mapped and writable until the
 * manager is closed.  adaptive: pages written in nearly every epoch stay
 * unarmed.  -EEXIST: part of it is managed already; -EFAULT: part of it is not
 * mapped; -E2BIG: too many pages; otherwise what the tracker says; `why` has a
 * sentence.  Nothing is left behind. */
int hl_manager_new(void *memory, size_t page_count,
                   const struct hl_tracker_ops *tracker, bool adaptive,
                   struct hl_manager **out, char *why) HL_MUST_CHECK;

/* The same, for a caller that is not yet ready to let others reach the
 * manager; when it is, it calls hl_manager_settle.  A child of a fork before
 * that finds the manager ended.  borrowed: the memory has another owner, who
 * may unmap part of it or take away rights; take and restore then check before
 * they touch it. */
int hl_manager_begin(void *memory, size_t page_count, bool borrowed,
                     const struct hl_tracker_ops *tracker, bool adaptive,
                     struct hl_manager **out, char *why) HL_MUST_CHECK;
/* The same with the tracker of that name, or, NULL, the first that works; as
 * hl_choose, whose errors it has besides. */
int hl_manager_begin_with(void *memory, size_t page_count, bool borrowed,
                          const char *tracker, bool adaptive,
                          struct hl_manager **out, struct hl_choice *choice,
                          char *why) HL_MUST_CHECK;
void hl_manager_settle(struct hl_manager *manager);

/* The same with a tracker that is open already and that nobody else can open,
 * such as a machine's; the manager's own from here on, unless this fails.  A
 * child of fork cannot use such a manager: its calls give -ECHILD. */
int hl_manager_adopt(struct hl_tracker *tracker, bool adaptive,
                     struct hl_manager **out, char *why) HL_MUST_CHECK;

struct hl_manager *hl_manager_ref(struct hl_manager *manager);
/* The last reference closes it, too. */
void hl_manager_unref(struct hl_manager *manager);

/* End tracking and drop the snapshots; the new values of the mirror (which may
 * be NULL) replace its old ones unconditionally.  False: it was already ended,
 * and nothing was exchanged. */
bool hl_manager_close(struct hl_manager *manager, struct hl_mirror *mirror);

/* Close, and give back the tracker that it adopted, open as it is, to the
 * caller: nobody else may call it any more.  NULL: it was closed before, or
 * this is a child of fork. */
struct hl_tracker *hl_manager_give_back(struct hl_manager *manager);

/* Close, and drop the reference. */
void hl_manager_free(struct hl_manager *manager);

/* Nothing of it touches the memory any more. */
bool hl_manager_ended(const struct hl_manager *manager);

/* Name of the tracker in use: a string that lives for ever. */
const char *hl_manager_tracker(const struct hl_manager *manager);

size_t hl_manager_page_count(const struct hl_manager *manager);

/* The calls below give -EBADF on a manager that was closed. */

/* Freeze the memory as it is into *out (one reference for the caller) and make
 * that current.  -ENOMEM: no snapshot, and every page that was dirty is. */
int hl_manager_take(struct hl_manager *manager,
                    struct hl_snapshot **out) HL_MUST_CHECK;
/* The same; *out and the mirror are written with the lock held. */
int hl_manager_take_as(struct hl_manager *manager, struct hl_snapshot **out,
                       struct hl_mirror *mirror) HL_MUST_CHECK;

/* Make memory equal to the snapshot, of the same number of pages (-EINVAL) but
 * of any store, and make that current.  -ENOMEM: memory is untouched. */
int hl_manager_restore(struct hl_manager *manager,
                       struct hl_snapshot *snapshot,
                       struct hl_applied *done) HL_MUST_CHECK;
/* The same with a mirror, or NULL.  snapshot may be NULL, for what is current:
 * -ENODATA if nothing is. */
int hl_manager_restore_as(struct hl_manager *manager,
                          struct hl_snapshot *snapshot,
                          struct hl_mirror *mirror,
                          struct hl_done *done) HL_MUST_CHECK;

/* NULL before the first take or restore; not a new reference, so only for a
 * caller that no other thread's call can interrupt. */
struct hl_snapshot *hl_manager_current(const struct hl_manager *manager);

/* Expect this run: a hint that it is about to be written, on which it is
 * un-armed at once instead of by a fault for each page.  Its pages count as
 * dirty from here on, written or not.  It cannot fail, does not wait for a
 * call under way, and ignores closed managers and runs outside of the region.
 */
void hl_manager_expect(struct hl_manager *manager, struct hl_run run);

/* These pages may differ from the current snapshot whatever the tracker says:
 * the host is about to write to memory of which a machine's tracker finds the
 * guest's writes only.  What is not of the region is ignored. */
void hl_manager_written(struct hl_manager *manager, struct hl_run run);

/* Zero these pages in each take but the first, as far as they are dirty: so no
 * snapshot has anything in them that they did not have at first.  Before the
 * manager is shared. */
void hl_manager_scratch(struct hl_manager *manager, struct hl_run pages);

/* Set in bits[], zeroed, the pages that may differ from current: all pages if
 * there is no current snapshot. */
int hl_manager_dirty(struct hl_manager *manager, uint64_t *bits) HL_MUST_CHECK;

/* Set in bits[], zeroed, the pages that differ from the snapshot (NULL: the
 * current one; -ENODATA): of those that the tracker reports, by comparing. */
int hl_manager_changed(struct hl_manager *manager,
                       const struct hl_snapshot *snapshot,
                       uint64_t *bits) HL_MUST_CHECK;
/* Of all pages, whatever the tracker says. */
int hl_manager_differing(struct hl_manager *manager,
                         const struct hl_snapshot *snapshot,
                         uint64_t *bits) HL_MUST_CHECK;

/* Compare every page with the snapshot (NULL: as above) and set in missed[],
 * zeroed, those that differ although they were not reported; returns their
 * number, or -errno. */
ssize_t hl_manager_verify(struct hl_manager *manager,
                          const struct hl_snapshot *snapshot,
                          uint64_t *missed) HL_MUST_CHECK;

struct hl_manager_stats {
    const char *tracker;
    size_t pages;
    size_t hot; /* pages left unarmed because they are always written */
    struct hl_region_stats counts;
    struct hl_store_usage store;
};
int hl_manager_stats(struct hl_manager *manager,
                     struct hl_manager_stats *stats) HL_MUST_CHECK;

/* Managers alive in this process, for leak tests. */
size_t hl_manager_count(void);

#endif
