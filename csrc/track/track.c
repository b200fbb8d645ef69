#include "track/track.h"

#include <stdlib.h>
#include <string.h>

#include "mem/vma.h"
#include "track/scan.h"

const struct hl_tracker_ops *const hl_trackers[] = {
    &hl_track_uffd,      &hl_track_uffd_sigbus, &hl_track_sigsegv,
    &hl_track_softdirty, &hl_track_full,
};
const size_t hl_tracker_count = HL_ARRAY_SIZE(hl_trackers);

const struct hl_tracker_ops *hl_tracker_find(const char *name)
{
    for (size_t i = 0; i < hl_tracker_count; i++)
        if (strcmp(hl_trackers[i]->name, name) == 0)
            return hl_trackers[i];
    return NULL;
}

bool hl_next_stretch(const struct hl_pages *pages, const struct hl_pages *open,
                     size_t bridge, size_t *cursor, struct hl_run *stretch)
{
    struct hl_run run;

    if (!hl_pages_run(pages, cursor, stretch))
        return false;
    for (size_t ahead = *cursor; hl_pages_run(pages, &ahead, &run);
         *cursor = ahead) {
        size_t end = stretch->first + stretch->count;
        if (run.first - end > bridge || hl_pages_next(open, end) < run.first)
            break;
        stretch->count = run.first + run.count - stretch->first;
    }
    return true;
}

int hl_arm_all(struct hl_tracker *tracker)
{
    struct hl_pages all;
    int err = hl_pages_init(&all, tracker->page_count);
    if (err < 0)
        return err;
    hl_pages_fill(&all);
    tracker->ops->arm(tracker, &all);
    hl_pages_free(&all);
    return 0;
}

/* Armed first, looked at second: a page first written in between is present
 * by then. */
int hl_arm_first_by_pagemap(struct hl_tracker *tracker,
                            struct hl_pages *touched)
{
    int err = hl_arm_all(tracker);
    if (err < 0)
        return err;
    /* Not on a kernel before 6.7; a pagemap costs 8 bytes a page. */
    if (hl_scan_touched(tracker->addr, touched) == 0)
        return 0;
    return hl_pagemap_find(tracker->addr,
                           HL_PAGEMAP_PRESENT | HL_PAGEMAP_SWAPPED, touched);
}
