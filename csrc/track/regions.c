#include "track/regions.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/lock.h"

/* Ascending by start, disjoint, never changed while it is published. */
struct table {
    size_t count, room;
    struct hl_fault_region *regions[];
};

/* The table that handlers read, and the one that the next change is written
 * to: after a change they have traded places.  Both have the same room, so
 * that removing needs no memory. */
static struct table *_Atomic current;
static struct table *spare;

/* Handlers that are inside, by the phase they came in.  A waiter flips the
 * phase and waits for the old side to drain, twice: one that read the phase
 * before a flip may count itself in only after the waiter looked. */
static atomic_uint phase;
static atomic_size_t inside[2];

static struct hl_lock waiting; /* who flips the phase; never in a handler */

/* Index of the first region that ends after `addr`. */
static size_t first_ending_after(const struct table *table, uintptr_t addr)
{
    size_t low = 0, high = table ? table->count : 0;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (table->regions[mid]->end > addr)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static struct hl_fault_region *find(int signal, uintptr_t addr)
{
    const struct table *table = atomic_load(&current);
    size_t at = first_ending_after(table, addr);

    if (table == NULL || at == table->count)
        return NULL;
    struct hl_fault_region *region = table->regions[at];
    return region->start <= addr && region->signal == signal ? region : NULL;
}

bool hl_regions_serve(int signal, uintptr_t addr)
{
    unsigned side = atomic_load(&phase) & 1;

    atomic_fetch_add(&inside[side], 1);
    struct hl_fault_region *region = find(signal, addr);
    bool opened = region != NULL && region->open_page(region, addr);
    atomic_fetch_sub(&inside[side], 1);
    return opened;
}

void hl_fault_quiesce(void)
{
    hl_lock_acquire(&waiting);
    for (int round = 0; round < 2; round++) {
        unsigned side = atomic_fetch_add(&phase, 1) & 1;
        while (atomic_load(&inside[side]) != 0)
            hl_yield();
    }
    hl_lock_release(&waiting);
}

static struct table *new_table(size_t room)
{
    struct table *table =
        HL_INJECT(HL_INJECT_TABLE)
            ? NULL
            : malloc(sizeof *table + room * sizeof table->regions[0]);
    if (table != NULL)
        *table = (struct table){.room = room};
    return table;
}

/* Publish the next table.  When this returns no handler reads the old one,
 * which is what is returned. */
static struct table *publish(struct table *next)
{
    struct table *old = atomic_exchange(&current, next);
    hl_fault_quiesce();
    return old;
}

static void copy(struct hl_fault_region **to,
                 struct hl_fault_region *const *from, size_t count)
{
    if (count > 0)
        memcpy(to, from, count * sizeof *to);
}

/* `from` with `region` in its place, which is not there yet.  Regions are not
 * looked at but on the way to that place: a pointer each is copied, which is
 * 1 us for 4000 of them. */
static void copy_with(struct table *to, const struct table *from,
                      struct hl_fault_region *region)
{
    size_t count = from ? from->count : 0;
    size_t at = first_ending_after(from, region->start);

    if (from != NULL)
        copy(to->regions, from->regions, at);
    to->regions[at] = region;
    if (from != NULL)
        copy(to->regions + at + 1, from->regions + at, count - at);
    to->count = count + 1;
}

/* `from` without `region`, if it is there. */
static void copy_without(struct table *to, const struct table *from,
                         const struct hl_fault_region *region)
{
    size_t at = first_ending_after(from, region->start), next = at;

    if (at < from->count && from->regions[at] == region)
        next++;
    copy(to->regions, from->regions, at);
    copy(to->regions + at, from->regions + next, from->count - next);
    to->count = from->count - (next - at);
}

/* Tables for more regions: two, or none. */
static int add_growing(struct hl_fault_region *region, size_t count)
{
    struct table *next = new_table(2 * count + 8);
    struct table *after = new_table(2 * count + 8);

    if (next == NULL || after == NULL) {
        free(next);
        free(after);
        return -ENOMEM;
    }
    copy_with(next, atomic_load(&current), region);
    free(publish(next));
    free(spare);
    spare = after;
    return 0;
}

int hl_regions_add(struct hl_fault_region *region)
{
    const struct table *old = atomic_load(&current);

    if (old == NULL || old->count == old->room)
        return add_growing(region, old ? old->count : 0);
    copy_with(spare, old, region);
    spare = publish(spare);
    return 0;
}

void hl_regions_remove(struct hl_fault_region *region)
{
    copy_without(spare, atomic_load(&current), region);
    spare = publish(spare);
}

/* The threads that were inside a handler do not exist in the child. */
static void in_child(struct hl_lock *unused)
{
    (void)unused;
    atomic_store(&inside[0], 0);
    atomic_store(&inside[1], 0);
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&waiting, HL_RANK_FAULT_WAITING);
    waiting.in_child = in_child;
}
