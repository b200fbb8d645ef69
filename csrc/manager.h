/* The manager: one region, one tracker, and the snapshots taken of it.
 *
 * take and restore cost what changed.  They are all-or-nothing: which snapshot
 * is current and which pages may differ from it change together, inside one
 * call.
 *
 * Threads: one call at a time on a manager.  Other threads may write to the
 * region throughout: a write that ended before take began is in the snapshot;
 * any other is in it or reported dirty afterwards.
 *
 * Fork: a child's manager opens its tracker anew on first use and takes every
 * page for changed; where that tracker cannot be had, one that can. */
#ifndef HL_MANAGER_H
#define HL_MANAGER_H

#include "base.h"
#include "snapshot/apply.h"
#include "snapshot/snapshot.h"
#include "track/track.h"

struct hl_manager;

/* Manage [memory, +page_count), which must stay mapped and writable until the
 * manager is freed.  adaptive: pages written in nearly every epoch stay
 * unarmed.  -EEXIST: part of it is managed already (`why` says where);
 * otherwise what the tracker says.  Nothing is left behind. */
int hl_manager_new(void *memory, size_t page_count,
                   const struct hl_tracker_ops *tracker, bool adaptive,
                   struct hl_manager **out, char *why) HL_MUST_CHECK;

/* The same with a tracker that is open already and that nobody else can open,
 * such as a machine's; the manager's own from here on, unless this fails.  A
 * child of fork cannot use such a manager: its calls give -ECHILD. */
int hl_manager_adopt(struct hl_tracker *tracker, bool adaptive,
                     struct hl_manager **out, char *why) HL_MUST_CHECK;

void hl_manager_free(struct hl_manager *manager);

/* Name of the tracker in use: a string that lives for ever. */
const char *hl_manager_tracker(const struct hl_manager *manager);

size_t hl_manager_page_count(const struct hl_manager *manager);

/* Freeze the memory as it is into *out (one reference for the caller) and make
 * that current.  -ENOMEM: no snapshot, and every page that was dirty is. */
int hl_manager_take(struct hl_manager *manager,
                    struct hl_snapshot **out) HL_MUST_CHECK;

/* Make memory equal to the snapshot, of the same number of pages but of any
 * store, and make that current.  -ENOMEM: memory is untouched. */
int hl_manager_restore(struct hl_manager *manager,
                       struct hl_snapshot *snapshot,
                       struct hl_applied *done) HL_MUST_CHECK;

/* NULL before the first take or restore; not a new reference. */
struct hl_snapshot *hl_manager_current(const struct hl_manager *manager);

/* This run is about to be written, by somebody who says so: un-arm it at once
 * instead of by a fault for each page.  Its pages count as dirty from here on,
 * written or not.  A hint: nothing fails. */
void hl_manager_expect(struct hl_manager *manager, struct hl_run run);

/* Set in bits[], zeroed, the pages that may differ from current: all of them
 * where there is none. */
int hl_manager_dirty(struct hl_manager *manager, uint64_t *bits) HL_MUST_CHECK;

/* Set in bits[], zeroed, exactly the pages that differ from the snapshot. */
int hl_manager_changed(struct hl_manager *manager,
                       const struct hl_snapshot *snapshot,
                       uint64_t *bits) HL_MUST_CHECK;

/* Compare every page with the snapshot and set in missed[], zeroed, those that
 * differ although nothing said they might; returns how many, or -errno. */
ssize_t hl_manager_verify(struct hl_manager *manager,
                          const struct hl_snapshot *snapshot,
                          uint64_t *missed) HL_MUST_CHECK;

struct hl_manager_stats {
    const char *tracker;
    size_t pages;
    size_t hot; /* pages left unarmed because they are always written */
    size_t takes, restores;
    size_t stored;         /* pages stored by takes */
    size_t copied, zeroed; /* pages, by restores */
    size_t raced;          /* pages written while they were being restored */
    size_t guesses;        /* times every page had to be taken for written */
    size_t reopened;       /* trackers opened anew, after a fork */
    size_t expected;       /* pages of writes that were announced */
    size_t collapsed;      /* times huge pages were made whole again */
    struct hl_store_usage store;
};
void hl_manager_stats(struct hl_manager *manager,
                      struct hl_manager_stats *stats);

/* Managers alive in this process, for leak tests. */
size_t hl_manager_count(void);

#endif
