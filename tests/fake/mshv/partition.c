#include "fake/mshv/partition.h"

#include <stdlib.h>

#include "fake/mshv/switches.h"

#define USER_END ((uint64_t)1 << 47)

int fake_partition_create(bool older, struct fake_partition **out)
{
    struct fake_partition *p = calloc(1, sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    int err = fake_machine_create(&p->machine);
    if (err < 0) {
        free(p);
        return err;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->vp.lock, NULL);
    p->vp.partition = p;
    p->older = p->initialized = older; /* the older kernel's did it at once */
    fake_count(FAKE_PARTITIONS, 1);
    *out = p;
    return 0;
}

static void drop(struct fake_partition *p, struct fake_region *r)
{
    fake_unpin(&r->pin, p->lost);
    free(r->pages);
    *r = (struct fake_region){.pages = NULL};
    fake_count(FAKE_MAPPINGS, -1);
}

void fake_partition_destroy(struct fake_partition *p)
{
    fake_machine_destroy(p->machine, p->lost);
    for (size_t i = 0; i < FAKE_SLOTS; i++)
        if (p->regions[i].slot.size)
            drop(p, &p->regions[i]);
    if (p->vp.cpu)
        fake_count(FAKE_VPS, -1);
    pthread_mutex_destroy(&p->vp.lock);
    pthread_mutex_destroy(&p->lock);
    free(p);
    fake_count(FAKE_PARTITIONS, -1);
}

/* The fake's engine has one vCPU a machine. */
int fake_vp_create(struct fake_partition *p, uint32_t index)
{
    if (p->vp.cpu && p->vp.index == index)
        return -EEXIST;
    if (!p->initialized)
        return -EIO; /* HV_STATUS_INVALID_PARTITION_STATE */
    if (index || p->vp.cpu)
        return -EINVAL;
    int err = fake_cpu_create(p->machine, &p->vp.cpu);
    if (err == 0)
        fake_count(FAKE_VPS, 1);
    return err;
}

struct fake_region *fake_region_at(struct fake_partition *p, uint64_t addr)
{
    for (size_t i = 0; i < FAKE_SLOTS; i++)
        if (addr - p->regions[i].slot.addr < p->regions[i].slot.size)
            return &p->regions[i];
    return NULL;
}

static bool overlap(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
    return a < b + b_size && b < a + a_size;
}

/* A slot for it, or -errno. */
static int find_place(const struct fake_partition *p,
                      const struct fake_slot *slot)
{
    int place = -ENOMEM;

    for (int i = FAKE_SLOTS - 1; i >= 0; i--) {
        const struct fake_slot *other = &p->regions[i].slot;
        if (other->size == 0)
            place = i;
        else if (overlap(slot->addr, other->addr, slot->size, other->size) ||
                 overlap(slot->host, other->host, slot->size, other->size))
            return -EEXIST;
    }
    return place;
}

int fake_region_map(struct fake_partition *p, const struct fake_slot *slot,
                    bool executable)
{
    const size_t count = slot->size / HL_MSHV_PAGE;

    if (slot->host >= USER_END || slot->size > USER_END - slot->host)
        return -EINVAL;
    int place = find_place(p, slot);
    if (place < 0)
        return place;
    if (!p->initialized)
        return -EIO; /* HV_STATUS_INVALID_PARTITION_STATE */
    struct fake_region r = {.slot = *slot, .executable = executable};
    int err = fake_pin(slot->host, slot->size, &r.pin);
    if (err < 0)
        return err;
    r.pages = calloc(count, 1);
    err = r.pages ? fake_machine_set_slot(p->machine, (uint32_t)place, slot,
                                          p->tracking)
                  : -ENOMEM;
    if (err < 0) {
        fake_unpin(&r.pin, false);
        free(r.pages);
        return err;
    }
    for (size_t i = 0; i < count; i++)
        r.pages[i] = FAKE_ACCESSED | FAKE_DIRTY;
    p->regions[place] = r;
    fake_count(FAKE_MAPPINGS, 1);
    return 0;
}

int fake_region_unmap(struct fake_partition *p, const struct fake_slot *slot)
{
    struct fake_region *r = fake_region_at(p, slot->addr);

    if (r == NULL || r->slot.addr != slot->addr ||
        r->slot.size != slot->size || r->slot.host != slot->host)
        return -EINVAL;
    const struct fake_slot none = {.addr = slot->addr, .writable = true};
    int err = fake_machine_set_slot(p->machine, (uint32_t)(r - p->regions),
                                    &none, false);
    if (err == 0)
        drop(p, r);
    return err;
}

int fake_partition_check(struct fake_partition *p, bool frames)
{
    int err = 0;

    for (size_t i = 0; i < FAKE_SLOTS && err == 0; i++)
        if (p->regions[i].slot.size)
            err = fake_pin_check(&p->regions[i].pin, frames);
    return err;
}
