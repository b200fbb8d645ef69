#include "manager/collect.h"

#include "mem/copy.h"
#include "os/forked.h"
#include "os/memory.h"
#include "os/others.h"
#include "os/vma.h"
#include "track/mappings.h"

bool hl_region_forked(const struct hl_region *r)
{
    return r->generation != hl_fork_generation();
}

/* Every page may have changed, and it is not known which. */
static void take_all_for_written(struct hl_region *r)
{
    hl_pages_fill(&r->pending);
    r->guess = true;
    r->stats.guesses++;
}

/* In a child: what the kernel knew of our pages belongs to the parent. */
static int reopen(struct hl_region *r)
{
    if (r->wanted->open == NULL)
        return -ECHILD;
    char why[HL_WHY_SIZE];
    struct hl_tracker *fresh = NULL;
    hl_let_others_run();
    if (r->tracker)
        r->tracker->ops->close(r->tracker, true);
    r->tracker = NULL;
    int err = r->wanted->open(r->memory, r->page_count, &fresh, why);
    for (size_t i = 0; i < hl_tracker_count && err < 0; i++)
        if (hl_trackers[i]->survives_fork)
            err = hl_trackers[i]->open(r->memory, r->page_count, &fresh, why);
    if (err < 0)
        return err;
    r->tracker = fresh;
    r->generation = hl_fork_generation();
    r->stats.reopened++;
    hl_hot_reset(&r->hot);
    take_all_for_written(r);
    return 0;
}

/* Check what its owner did to borrowed memory, before anything touches it, the
 * tracker included.  A hole, or a page that cannot be read, equals no
 * snapshot. If the tracker itself closes pages, mappings tell nothing, and are
 * many. */
static bool is_readable(struct hl_region *r)
{
    size_t size = r->page_count * hl_page_size();

    r->intact = true;
    r->changed = false;
    if (!r->borrowed ||
        (r->tracker->ops->splits_mappings && r->tracker->armed))
        return true;
    int err = hl_vma_allows(r->memory, size, HL_PROT_READ | HL_PROT_WRITE);
    r->intact = err == 0;
    r->changed = err < 0 && err != -ENOTTY;
    if (err == -EACCES)
        err = hl_vma_allows(r->memory, size, HL_PROT_READ);
    return err == 0 || err == -ENOTTY;
}

void hl_region_spend(const struct hl_pages *pages, uint64_t each)
{
    hl_spend(hl_pages_count_to(pages, HL_PATIENCE_NS / each) * each);
}

int hl_region_may_touch(const struct hl_region *r,
                        const struct hl_pages *pages, int prot)
{
    return r->intact ? 0 : hl_mappings_can_touch(r->memory, pages, prot);
}

int hl_region_collect(struct hl_region *r)
{
    if (r->fetched) /* perhaps by those who wait */
        hl_let_others_run();
    if (r->tracker == NULL || hl_region_forked(r)) {
        int err = reopen(r);
        if (err < 0)
            return err;
    }
    hl_pages_empty(&r->dirty);
    r->tracker->collected = false;
    if (!is_readable(r))
        take_all_for_written(r);
    /* With nothing armed there is nothing to ask. */
    else if (r->hot.count == r->page_count || r->current == NULL)
        hl_pages_fill(&r->dirty);
    else if (r->tracker->ops->collect(r->tracker, &r->dirty) < 0)
        take_all_for_written(r);
    else
        r->tracker->collected = true;
    hl_pages_or(&r->dirty, &r->pending);
    return 0;
}

/* Before the take arms them: then it is no fault, and a part of this take. */
void hl_region_zero_scratch(struct hl_region *r)
{
    const size_t size = hl_page_size(),
                 end = r->scratch.first + r->scratch.count;
    size_t at = r->scratch.first;

    while ((at = hl_pages_next(&r->dirty, at)) < end)
        hl_zero(r->memory + at++ * size, size);
}
