#include "track/track.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/bitmap.h"
#include "mem/vma.h"

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

int hl_why(char *why, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, HL_WHY_SIZE, format, args);
    va_end(args);
    return err;
}

/* Is any page of [first, end) set? */
static bool any_set(const uint64_t *bits, size_t first, size_t end)
{
    struct hl_run run;
    return hl_run_next(bits, end, &first, &run);
}

bool hl_next_stretch(const uint64_t *pages, const uint64_t *open,
                     size_t page_count, size_t bridge, size_t *cursor,
                     struct hl_run *stretch)
{
    struct hl_run run;

    if (!hl_run_next(pages, page_count, cursor, stretch))
        return false;
    for (size_t ahead = *cursor; hl_run_next(pages, page_count, &ahead, &run);
         *cursor = ahead) {
        size_t end = stretch->first + stretch->count;
        if (run.first - end > bridge || any_set(open, end, run.first))
            break;
        stretch->count = run.first + run.count - stretch->first;
    }
    return true;
}

/* Armed first, looked at second: a page first written in between is present
 * by then. */
int hl_arm_first_by_pagemap(struct hl_tracker *tracker, uint64_t *touched)
{
    uint64_t *all = malloc(hl_bitmap_words(tracker->page_count) * 8);
    if (all == NULL)
        return -ENOMEM;
    memset(all, 0xff, hl_bitmap_words(tracker->page_count) * 8);
    tracker->ops->arm(tracker, all);
    free(all);
    return hl_pagemap_find_once(tracker->addr, tracker->page_count,
                                HL_PAGEMAP_PRESENT | HL_PAGEMAP_SWAPPED,
                                touched);
}
