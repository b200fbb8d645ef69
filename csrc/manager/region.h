/* A managed region, and the operations on it: take, restore and the like.
 *
 * take and restore cost what changed.  They are all-or-nothing: which snapshot
 * is current and which pages may differ from it change together, inside one
 * call.
 *
 * Threads: one call at a time on a region, as ensured by its only user,
 * csrc/manager/manager.c.  Other threads may write to the memory
 * throughout: a write that ended before take began is in the snapshot; any
 * other is in it or reported dirty afterwards.
 *
 * Fork: a child's region reopens its tracker on first use, or another one if
 * that is unavailable, and treats every page as changed.
 *
 * Sets of pages, each with one meaning.  `pending` is kept from call to call;
 * the call under way fills the others before it reads them, and what they hold
 * between calls means nothing.
 *
 *   pending  May differ from `current`, whatever the tracker reports (M1, M3).
 *            Filled before pages are armed, or when the tracker cannot tell;
 *            emptied when a snapshot becomes current, except for the pages
 *            that another thread wrote meanwhile.
 *   dirty    May differ from `current`; without one, from zero.  Filled by
 *            hl_region_collect (the tracker's report and `pending`), valid
 *            until the next collect.  The first take then takes out what was
 *            never touched; a restore that arms in pieces keeps in it, at
 *            last, what was written meanwhile.
 *   todo     What the call has yet to deal with:
 *              take      dirty, to be armed; without the hot pages
 *              restore   dirty, and where `current` differs from the snapshot:
 *                        to be made equal to it; then, without the hot pages,
 *                        to be armed and compared once more
 *              changed   the same, or every page: to be compared
 *              verify    the same: any other page that differs was missed
 *   differs  Differ from the call's snapshot, of the pages that it looked at.
 *            A restore that does not compare takes all of todo to differ, but
 *            for the hot pages that it sampled.  Valid to the end of the call.
 *   piece    Scratch of csrc/manager/putback.c.
 */
#ifndef HL_MANAGER_REGION_H
#define HL_MANAGER_REGION_H

#include "base.h"
#include "manager/hot.h"
#include "manager/split.h"
#include "snapshot/apply.h"
#include "snapshot/snapshot.h"
#include "track/track.h"

struct hl_region_stats {
    size_t takes, restores;
    size_t stored;         /* pages stored by takes */
    size_t copied, zeroed; /* pages, by restores */
    size_t raced;          /* pages written while they were being restored */
    size_t guesses;        /* times every page was assumed to be written */
    size_t reopened;       /* trackers reopened after a fork */
    size_t expected;       /* pages given to hl_region_expect */
    size_t widened;        /* pages left unarmed by far restores */
    size_t pieces;         /* in which restores armed many pages */
    size_t collapsed;      /* huge pages made whole again */
};

struct hl_region {
    char *memory;
    size_t page_count;
    const struct hl_tracker_ops *wanted;
    struct hl_tracker *tracker; /* NULL: a fork took it, none could be had */
    struct hl_store *store;     /* current's, or where the first take goes */
    struct hl_snapshot *current;
    struct hl_run scratch; /* zeroed in each take but the first */
    bool zero_filled;      /* memory that nobody touched is zero */
    bool fetched;          /* its pages may be: see hl_mappings_check */
    bool adaptive;
    bool borrowed; /* somebody else's memory, who may unmap or close it */
    bool intact;   /* ...and did neither, when the call under way looked... */
    bool changed;  /* ...or did; neither: it could not be asked */
    bool claimed;  /* its range is */
    bool guess;    /* the tracker could not tell: pending is every page */
    unsigned generation;
    size_t plain_copies;   /* in a row: restores that copied everything */
    size_t collapse_after; /* so many of those; 0: not known yet */
    struct hl_pages pending, dirty, todo, differs, piece; /* see above */
    uint64_t *sets;                                       /* their words */
    struct hl_hot hot;
    struct hl_split split;
    bool asked_for_huge, wants_huge; /* whether this memory has huge pages */
    struct hl_region_stats stats;

    /* What the last call replaced, a reference on each, or NULL.  The caller
     * drops them when it holds no lock: the last reference on a store ends a
     * lock, and may free GiBs. */
    struct hl_snapshot *old_current;
    struct hl_store *old_store;
};

/* Fill in a zeroed region whose memory, page_count, wanted, adaptive,
 * borrowed and, if it is open already, tracker are set.  Tracks nothing yet.
 * -ENOMEM or -E2BIG: what was allocated is freed by hl_region_free; `why` has
 * a sentence. */
int hl_region_init(struct hl_region *region, char *why) HL_MUST_CHECK;

/* Claim the range and track it.  -EEXIST: part of it is managed already;
 * -EFAULT: part of it is not mapped; otherwise what the tracker says.  Nothing
 * is claimed or tracked then. */
int hl_region_start(struct hl_region *region, char *why) HL_MUST_CHECK;

/* Undo hl_region_start, if it was done.  forked: in a child that cannot use
 * what its parent opened. */
void hl_region_end(struct hl_region *region, bool forked);

/* Free what init and the calls since allocated; with no lock held. */
void hl_region_free(struct hl_region *region);

/* A fork made this process after the tracker was opened. */
bool hl_region_forked(const struct hl_region *region);

/* Freeze the memory as it is into *out (one reference for the caller) and make
 * that current.  -ENOMEM: no snapshot, and every page that was dirty is;
 * -EFAULT, -EACCES: the same, because a page of it is not mapped any more, or
 * must not be read. */
int hl_region_take(struct hl_region *region,
                   struct hl_snapshot **out) HL_MUST_CHECK;

/* Make memory equal to the snapshot, of the same number of pages but of any
 * store, and make that current.  -ENOMEM: memory is untouched; -EFAULT,
 * -EACCES: the same, because a page that is to be written is not mapped any
 * more, or must not be. */
int hl_region_restore(struct hl_region *region, struct hl_snapshot *snapshot,
                      struct hl_applied *done) HL_MUST_CHECK;

/* As hl_manager_expect, which has checked that the run is in the region. */
void hl_region_expect(struct hl_region *region, struct hl_run run);

/* Set in bits[], zeroed, the pages that may differ from current: all of them
 * where there is none. */
int hl_region_dirty(struct hl_region *region, uint64_t *bits) HL_MUST_CHECK;

/* Set in bits[], zeroed, the pages that differ from the snapshot: of those
 * that may by what the tracker says, or, everything, of all. */
int hl_region_changed(struct hl_region *region,
                      const struct hl_snapshot *snapshot, bool everything,
                      uint64_t *bits) HL_MUST_CHECK;

/* Compare every page with the snapshot and set in missed[], zeroed, those that
 * differ although nothing said they might; returns how many, or -errno. */
ssize_t hl_region_verify(struct hl_region *region,
                         const struct hl_snapshot *snapshot,
                         uint64_t *missed) HL_MUST_CHECK;

#endif
