/* full: no tracking.  Every page is always reported, so a restore copies
 * everything.  It is the baseline for the other trackers, and the last resort
 * where none of them works. */
#include <stdlib.h>

#include "os/map.h"
#include "track/track.h"

static int probe(char *why)
{
    (void)why;
    return 0;
}

static int full_open(void *addr, size_t page_count, struct hl_tracker **out,
                     char *why)
{
    struct hl_vma vma;
    int err = hl_tracker_accepts(&hl_track_full, addr, page_count, &vma, why);
    /* Parts that differ in protection are asked for before they are touched.
     */
    if (err < 0 && err != -EINVAL)
        return err;
    struct hl_tracker *t = calloc(1, sizeof *t);
    if (t == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    *t = (struct hl_tracker){.ops = &hl_track_full,
                             .addr = addr,
                             .page_count = page_count,
                             .page_size = hl_page_size()};
    *out = t;
    return 0;
}

static int collect(struct hl_tracker *t, struct hl_pages *dirty)
{
    (void)t;
    hl_pages_fill(dirty);
    return 0;
}

static void ignore(struct hl_tracker *t, const struct hl_pages *pages)
{
    (void)t;
    (void)pages;
}

static void disarm(struct hl_tracker *t, struct hl_run run)
{
    (void)t;
    (void)run;
}

static void full_close(struct hl_tracker *t, bool forked)
{
    (void)forked;
    free(t);
}

const struct hl_tracker_ops hl_track_full = {
    .name = "full",
    .kernel_writes = true,
    .arms = false,
    .survives_fork = true,
    .kinds = HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_FILE |
             HL_KIND_FILE_COPY | HL_KIND_HUGETLB | HL_KIND_DEVICE |
             HL_KIND_UNKNOWN,
    .sees_drops = true,
    .probe = probe,
    .open = full_open,
    .collect = collect,
    .arm = ignore,
    .leave_unarmed = ignore,
    .arm_first = hl_arm_first_by_look,
    .disarm = disarm,
    .close = full_close,
};
