/* Dropped pages: those that their owner discards by madvise, unseen by a
 * tracker.
 *
 * userfaultfd marks are in page tables.  In private anonymous memory a mark
 * goes with its page, so a scan for "written" finds it.  In memory with a file
 * behind it (shmem and hugetlbfs are files, too) the kernel keeps the mark,
 * and a page that was removed and read again looks as it did when it was
 * armed. Only its content shows the change:
 *
 *  D1. Removed from shared memory or a file (MADV_REMOVE, a file made shorter
 *      and longer again), a page is zero from then on.  One that was not zero
 *      when it was armed, and now is or is not there, was dropped.
 *  D2. Dropped from a private mapping of a file (MADV_DONTNEED), a page is the
 *      file's again.  One that was our copy when it was armed, and now is the
 *      file's or is not there, was dropped.
 *
 * Both examine the present state, not past events, so the time of the check
 * does not matter.  A page that only left memory (MADV_PAGEOUT, a file's page
 * written back) is reported as well: reporting too many pages is always right.
 *
 * Costs a load a page (40 ns, mostly for the TLB) for D1, a second scan for
 * D2; nothing for private anonymous memory. */
#ifndef HL_TRACK_LINUX_DROPS_H
#define HL_TRACK_LINUX_DROPS_H

#include "base.h"
#include "mem/pages.h"
#include "os/vma.h"
#include "track/linux/scan.h"
#include "track/track.h"

struct hl_drops {
    bool by_zero, by_copy;  /* D1, D2; neither: nothing to do */
    struct hl_pages filled; /* not zero when armed */
    struct hl_pages copies; /* no file's when armed */
    struct hl_pages now;    /* scratch */
};

/* For memory of these kinds.  A zeroed one that failed, or was never
 * initialized, can be freed. */
int hl_drops_init(struct hl_drops *drops, const struct hl_vma *vma,
                  size_t page_count) HL_MUST_CHECK;
void hl_drops_free(struct hl_drops *drops);

/* These pages of t have just been armed.  -errno: take them for not armed. */
int hl_drops_armed(struct hl_drops *drops, const struct hl_tracker *t,
                   struct hl_scan *scan,
                   const struct hl_pages *pages) HL_MUST_CHECK;

/* Add to dirty the pages that were dropped, leaving out those of `open`, which
 * are reported anyway. */
int hl_drops_find(struct hl_drops *drops, const struct hl_tracker *t,
                  struct hl_scan *scan, const struct hl_pages *open,
                  struct hl_pages *dirty) HL_MUST_CHECK;

#endif
