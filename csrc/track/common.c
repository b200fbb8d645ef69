#include "track/track.h"

#include <stdlib.h>
#include <string.h>

#include "os/map.h"
#include "track/look.h"

int hl_why_vma(char *why, int err)
{
    if (err == -EFAULT)
        return hl_why(why, err, "part of this memory is not mapped");
    if (err == -EINVAL)
        return hl_why(why, err, "parts of this memory differ in protection");
    return hl_why(why, err, "/proc/self/maps: %s", hl_strerror(-err));
}

int hl_tracker_accepts(const struct hl_tracker_ops *ops, const void *addr,
                       size_t page_count, struct hl_vma *vma, char *why)
{
    int err = hl_vma_query(addr, page_count * hl_page_size(), vma);
    if (err < 0)
        return hl_why_vma(why, err);

    const unsigned ground = HL_KIND_OWN_HEAP | HL_KIND_STACK | HL_KIND_LIBRARY;
    if (vma->kinds & ground)
        return hl_why(why, -EOPNOTSUPP,
                      "this memory holds %s, which cannot be restored while "
                      "it is in use",
                      hl_kind_name(vma->kinds & ground));
    if (vma->kinds & ~ops->kinds)
        return hl_why(why, -EOPNOTSUPP, "%s cannot be tracked by %s",
                      hl_kind_name(vma->kinds & ~ops->kinds), ops->name);
    return 0;
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

size_t hl_tracker_cost(const struct hl_tracker_ops *ops, size_t page_count)
{
    return ops->collect_cost +
           (ops->collect_pages ? page_count / ops->collect_pages : 0);
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
int hl_arm_first_by_look(struct hl_tracker *tracker, struct hl_pages *touched)
{
    int err = hl_arm_all(tracker);
    if (err < 0)
        return err;
    return hl_look_find_touched(tracker->addr, touched);
}
