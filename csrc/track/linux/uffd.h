/* What uffd.c (open, collect) and uffd_arm.c (arm) share.
 *
 * Only these two include it. */
#ifndef HL_TRACK_LINUX_UFFD_H
#define HL_TRACK_LINUX_UFFD_H

#include "base.h"
#include "track/linux/blocks.h"
#include "track/linux/drops.h"
#include "track/linux/scan.h"
#include "track/linux/uffd_fd.h"
#include "track/track.h"

struct hl_uffd_tracker {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_uffd uffd;
    struct hl_scan scan;
    unsigned kinds;  /* what the drops are looked for by */
    bool lost;       /* part of it is not registered any more */
    bool sees_holes; /* a page without a page table is reported as written */
    struct hl_drops drops;
    struct hl_blocks blocks; /* how the pages that are not open are armed */
    struct hl_pages open;    /* not armed, or left so: no need to ask */
    /* Found written by a scan that armed them again on the way to its own
     * pages: reported until they are armed on purpose. */
    struct hl_pages found;
};

/* arm and arm_first of struct hl_tracker_ops. */
void hl_uffd_arm(struct hl_tracker *t, const struct hl_pages *pages);
int hl_uffd_arm_first(struct hl_tracker *t, struct hl_pages *touched);

#endif
