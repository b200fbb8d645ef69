/* Trackers: which pages of a region were written since they were armed.
 *
 * Each tracker is one file that fills in a struct hl_tracker_ops; track.c
 * lists them in order of preference.
 *
 * What every tracker promises, even while other threads write:
 *
 *  T1. After open no page is armed.  A page that is not armed is always
 *      reported by collect.
 *  T2. A page that arm() covered is either armed when it returns, and then
 *      every later write makes collect report it, or is reported already.
 *      If the kernel refuses to arm it, it is reported already.
 *  T3. A write to such a page that arm() forgot ended before arm() returned: a
 *      later read of the page sees it.
 *  T4. collect() forgets nothing; only arm() does, and only the pages it is
 *      given.
 *  T5. close() leaves the region as open() found it, and no handler that
 *      still runs refers to it afterwards.
 *
 *  T6. Memory that open accepts is tracked exactly, for all changes by its
 *      owner by writes, system calls and madvise, except as stated in the
 *      tracker's fields (kernel_writes, sees_drops).  Memory that cannot be
 *      tracked so is refused, with a sentence.
 *
 *  T7. A page that next_absent names is armed by its absence alone: what was
 *      written to it since, and dropped again (MADV_DONTNEED), is not
 *      reported.  It is zero then, as it was when it was armed; who has read
 *      anything else of it in between has to remember that.
 *
 * Threads: the calls on one tracker are made one at a time; faults arrive on
 * any thread at any moment. */
#ifndef HL_TRACK_TRACK_H
#define HL_TRACK_TRACK_H

#include "base.h"
#include "mem/pages.h"
#include "os/vma.h"
#include "why.h"

struct hl_tracker {
    const struct hl_tracker_ops *ops;
    char *addr;
    size_t page_count;
    size_t page_size;
    /* The region's notes, false at first. */
    bool collected; /* in the call that the next arm() belongs to */
    bool armed;     /* a page of it, ever */
};

struct hl_tracker_ops {
    const char *name;
    bool kernel_writes;   /* writes by system calls are seen, not refused */
    bool arms;            /* false: every page is reported always */
    bool splits_mappings; /* arming changes what may be done with a page */
    bool uses_signal;     /* a handler of ours is told of each first write */
    bool survives_fork;   /* can be opened in a child, whatever it lacks */
    bool walks_tables;   /* collect takes longer where huge pages were split */
    size_t collect_cost; /* at the least, in pages that could be copied */
    size_t collect_pages; /* one such more for so many pages of the region; 0:
                             what is clean costs nothing */
    size_t disarm_cost;   /* a run's, and its arming, in such; 0: nothing */

    /* Kinds of memory (enum hl_kind) that it tracks: on any other, open is
     * refused with -EOPNOTSUPP.  None tracks the process's own heap, stacks or
     * this library's data.  0 for a machine's own tracker. */
    unsigned kinds;
    /* A page that its owner drops (madvise) is reported, on each of those
     * kinds.  If false, that is a documented limit. */
    bool sees_drops;

    /* Try it for real on memory of its own.  0, or -errno and a sentence.
     * NULL: a machine's own, which hl_driver_try tries. */
    int (*probe)(char *why);

    /* Start on [addr, +page_count).  On error nothing is left behind and `why`
     * holds a sentence.  NULL: a machine's own (struct hl_vm_tracker). */
    int (*open)(void *addr, size_t page_count, struct hl_tracker **out,
                char *why);

    /* Add the reported pages to dirty.  -errno: dirty is not a superset; the
     * caller must treat every page as written. */
    int (*collect)(struct hl_tracker *tracker, struct hl_pages *dirty);

    /* Arm these pages. */
    void (*arm)(struct hl_tracker *tracker, const struct hl_pages *pages);

    /* From now on until they are armed, treat these pages as not armed,
     * without asking the kernel: they are written all the time. */
    void (*leave_unarmed)(struct hl_tracker *tracker,
                          const struct hl_pages *pages);

    /* Arm every page and add to touched those that may hold anything but
     * zero, given that untouched memory of this region is zero.  A page
     * written meanwhile is in touched or reported.  -errno: what holds
     * anything cannot be told; some pages may be armed. */
    int (*arm_first)(struct hl_tracker *tracker, struct hl_pages *touched);

    /* The next run in [*cursor, end) of pages that are armed by their absence
     * (T7), or open; *cursor moves behind it.  False at the end.  NULL: there
     * are none. */
    bool (*next_absent)(const struct hl_tracker *tracker, size_t *cursor,
                        size_t end, struct hl_run *run);

    /* Un-arm a run in one step, because it is about to be written: by a bulk
     * write that was expected, or by a restore.  Never needed for a correct
     * result. */
    void (*disarm)(struct hl_tracker *tracker, struct hl_run run);

    /* forked: this is a child of the process that opened it, whose kernel
     * objects belong to the parent; only let go of them. */
    void (*close)(struct hl_tracker *tracker, bool forked);
};

/* Trackers of what this process writes, in order of preference; and one of
 * them by its name, or NULL. */
extern const struct hl_tracker_ops *const hl_trackers[];
extern const size_t hl_tracker_count;
const struct hl_tracker_ops *hl_tracker_find(const char *name);

/* For the trackers' own files. */
extern const struct hl_tracker_ops hl_track_uffd, hl_track_uffd_sigbus,
    hl_track_sigsegv, hl_track_softdirty, hl_track_writewatch,
    hl_track_vectored, hl_track_full;

/* What asking it about so many pages costs at the least, in pages that could
 * be copied. */
size_t hl_tracker_cost(const struct hl_tracker_ops *ops, size_t page_count);

/* Put into words what hl_vma_query said, and return it. */
int hl_why_vma(char *why, int err);

/* What every open begins with: look at [addr, +page_count) and refuse what
 * `ops` does not track.  Fills in *vma, or -errno with a sentence in `why`. */
int hl_tracker_accepts(const struct hl_tracker_ops *ops, const void *addr,
                       size_t page_count, struct hl_vma *vma,
                       char *why) HL_MUST_CHECK;

/* The next stretch of pages to arm in one call, at or after *cursor: runs of
 * `pages`, joined across gaps of at most `bridge` pages none of which is in
 * `open`.  Handlers may add to `open` meanwhile; a gap page that opens just
 * then may still be crossed. */
bool hl_next_stretch(const struct hl_pages *pages, const struct hl_pages *open,
                     size_t bridge, size_t *cursor, struct hl_run *stretch);

/* Arm every page, or -ENOMEM. */
int hl_arm_all(struct hl_tracker *tracker) HL_MUST_CHECK;

/* arm_first for trackers whose armed pages are looked at as others (look.h).
 */
int hl_arm_first_by_look(struct hl_tracker *tracker, struct hl_pages *touched);

#endif
