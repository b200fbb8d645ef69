/* Dirty and accessed pages, as Hyper-V keeps them: per page, set by writes and
 * by queries, cleared by queries only. */
#include <stdlib.h>

#include "fake/mshv/partition.h"
#include "fake/mshv/switches.h"

#define BATCH 4095 /* pages that a hypercall answers */

static size_t page_count(const struct fake_region *r)
{
    return r->slot.size / HL_MSHV_PAGE;
}

/* What the guest wrote to a region since the last time. */
static int harvest(struct fake_partition *p, struct fake_region *r)
{
    uint64_t *bits = calloc(page_count(r) / 64 + 1, 8);
    if (bits == NULL)
        return -ENOMEM;
    int err =
        fake_machine_written(p->machine, (uint32_t)(r - p->regions), bits);
    for (size_t i = 0; i < page_count(r) && err == 0; i++)
        if (bits[i / 64] >> (i % 64) & 1)
            r->pages[i] = FAKE_ACCESSED | FAKE_DIRTY;
    free(bits);
    return err;
}

/* KVM does not tell which pages were accessed: any may have been. */
static int harvest_range(struct fake_partition *p, uint64_t page,
                         uint64_t count)
{
    const bool ran = atomic_exchange(&p->ran, false);
    int err = 0;

    for (size_t n = 0; n < FAKE_SLOTS && err == 0; n++) {
        struct fake_region *r = &p->regions[n];
        const uint64_t first = r->slot.addr / HL_MSHV_PAGE;
        for (size_t i = 0; i < page_count(r) && ran; i++)
            r->pages[i] |= FAKE_ACCESSED;
        if (first < page + count && page < first + page_count(r))
            err = harvest(p, r);
    }
    return err;
}

/* Off: pages that are still marked as clear would fault for ever. */
static int may_stop(struct fake_partition *p)
{
    int err = harvest_range(p, 0, UINT64_MAX >> 1);

    for (size_t n = 0; n < FAKE_SLOTS && err == 0; n++)
        for (size_t i = 0; i < page_count(&p->regions[n]); i++)
            if (p->regions[n].pages[i] & FAKE_CLEARED)
                return -EIO; /* HV_STATUS_OPERATION_DENIED */
    return err;
}

int fake_track(struct fake_partition *p, uint64_t value)
{
    const bool on = value == 1, all = fake_mshv_switched(FAKE_FIRST_ALL_DIRTY);

    if (value > 1)
        return -EINVAL;
    if (on == p->tracking)
        return 0;
    int err = on ? 0 : may_stop(p);
    for (uint32_t n = 0; n < FAKE_SLOTS && err == 0; n++) {
        struct fake_region *r = &p->regions[n];
        if (r->slot.size)
            err = fake_machine_set_slot(p->machine, n, &r->slot, on);
        for (size_t i = 0; i < page_count(r) && err == 0; i++)
            r->pages[i] = FAKE_ACCESSED | (all || !on ? FAKE_DIRTY : 0);
    }
    if (err == 0)
        p->tracking = on;
    return err;
}

static uint8_t ask(uint8_t *page, const struct fake_query *q)
{
    const uint8_t was = *page & (FAKE_ACCESSED | FAKE_DIRTY);

    *page &= (uint8_t)~q->clear;
    *page |= q->set;
    if (q->clear & FAKE_DIRTY)
        *page |= FAKE_CLEARED;
    if (q->set & FAKE_DIRTY)
        *page &= (uint8_t)~FAKE_CLEARED;
    return was;
}

int fake_query(struct fake_partition *p, struct fake_query *q)
{
    q->done = 0;
    if (!p->tracking)
        return -EIO; /* HV_STATUS_OPERATION_DENIED */
    int err = harvest_range(p, q->page, q->count);
    if (err < 0)
        return err;
    fake_count(FAKE_PAGES_ASKED, (long)q->count);
    fake_count(FAKE_HYPERCALLS, (long)((q->count + BATCH - 1) / BATCH));
    for (; q->done < q->count; q->done++) {
        const uint64_t page = q->page + q->done;
        struct fake_region *r = fake_region_at(p, page * HL_MSHV_PAGE);
        if (r == NULL)
            return -EINVAL; /* HV_STATUS_INVALID_PARAMETER */
        q->states[q->done] =
            ask(&r->pages[page - r->slot.addr / HL_MSHV_PAGE], q);
        fake_count(FAKE_PAGES_TOLD, (q->states[q->done] & FAKE_DIRTY) != 0);
    }
    return 0;
}
