#include "machine.h"

#include <stdlib.h>
#include <string.h>

#include "os/lock.h"
#include "track/look.h"

/* The newest first.  Guarded by `lock`, which is not held while one is made or
 * destroyed. */
static struct hl_lock lock;
static struct hl_machine blanks[HL_BLANKS];
static size_t blank_count;

static void destroy_vm(struct hl_machine *m, bool forked)
{
    if (m->tracker)
        m->tracker->ops->close(m->tracker, forked);
    if (m->vm)
        m->driver->destroy(m->vm);
    m->tracker = NULL;
    m->vm = NULL;
    m->blank = false;
}

static void destroy(struct hl_machine *m, bool forked)
{
    destroy_vm(m, forked);
    if (m->map.base)
        hl_map_destroy(&m->map);
    m->config.slot_count = 0;
}

static bool has_slots(const struct hl_vm_config *config,
                      const struct hl_machine_slot *slots, size_t count)
{
    if (config->slot_count != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (config->slots[i].addr != slots[i].addr ||
            config->slots[i].size != slots[i].size)
            return false;
    return true;
}

static bool has_regions(const struct hl_vm_config *one,
                        const struct hl_vm_config *other)
{
    if (one->region_count != other->region_count || one->finer_count ||
        other->finer_count)
        return false;
    for (size_t i = 0; i < one->region_count; i++)
        if (one->regions[i].addr != other->regions[i].addr ||
            one->regions[i].size != other->regions[i].size ||
            one->regions[i].perms != other->regions[i].perms)
            return false;
    return true;
}

static void remove_blank(size_t i)
{
    blank_count--;
    memmove(&blanks[i], &blanks[i + 1], (blank_count - i) * sizeof *blanks);
}

/* Equal regions are equal tables, at equal places: what the vCPU has looked up
 * in the last guest's is true of the next one's. */
static bool take_blank(struct hl_machine *m,
                       const struct hl_machine_slot *slots, size_t count)
{
    size_t i = 0;

    hl_lock_acquire(&lock);
    while (i < blank_count && !(blanks[i].driver == m->driver &&
                                has_slots(&blanks[i].config, slots, count) &&
                                has_regions(&blanks[i].config, &m->config)))
        i++;
    bool found = i < blank_count;
    if (found) {
        *m = blanks[i];
        remove_blank(i);
    }
    hl_lock_release(&lock);
    if (found) {
        m->blank = true;
        m->tables = m->config.tables;
        m->fs_base = m->config.fs_base;
        m->system_calls = m->config.system_calls;
        m->config.system_calls = false;
    }
    return found;
}

int hl_machine_map(struct hl_machine *m, const struct hl_machine_slot *slots,
                   size_t count, char *why)
{
    struct hl_vm_config *vm = &m->config;
    size_t total = 0, at = 0;

    if (take_blank(m, slots, count))
        return 0;
    for (size_t i = 0; i < count; i++)
        total += slots[i].size;
    int err = hl_map_create_joined(&m->map, total);
    if (err < 0)
        return hl_why(why, err, "%s of %zu bytes: %s", hl_memory_call, total,
                      strerror(-err));
    for (size_t i = 0; i < count; i++) {
        vm->slots[i] = (struct hl_vm_slot){
            .host = (char *)m->map.addr + at,
            .addr = slots[i].addr,
            .size = slots[i].size,
        };
        at += slots[i].size;
    }
    vm->slot_count = count;
    return 0;
}

/* Dirty logging costs time even if nobody reads it: slots are logged for a
 * tracker only. */
static bool is_logged(const struct hl_vm_slot *slot,
                      const struct hl_vm_tracker *tracker, const char *memory,
                      size_t size)
{
    const char *host = slot->host;

    return tracker && host >= memory && host < memory + size;
}

/* Whether the blank machine is one that create() would make now. */
static bool fits(const struct hl_machine *m,
                 const struct hl_vm_tracker *tracker, const char *memory,
                 size_t size)
{
    const struct hl_vm_config *vm = &m->config;

    if (!m->blank || vm->tracker != tracker || vm->fs_base != m->fs_base ||
        vm->system_calls != m->system_calls ||
        memcmp(&vm->tables, &m->tables, sizeof vm->tables) != 0)
        return false;
    for (size_t i = 0; i < vm->slot_count; i++)
        if (vm->slots[i].logged !=
            is_logged(&vm->slots[i], tracker, memory, size))
            return false;
    return tracker == NULL ||
           (m->tracker->addr == memory &&
            m->tracker->page_count * hl_page_size() == size);
}

static int create(struct hl_machine *m, const struct hl_vm_tracker *tracker,
                  const char *memory, size_t size, char *why)
{
    struct hl_vm_config *vm = &m->config;

    vm->tracker = tracker;
    for (size_t i = 0; i < vm->slot_count; i++)
        vm->slots[i].logged = is_logged(&vm->slots[i], tracker, memory, size);
    return m->driver->create(vm, &m->vm, why);
}

int hl_machine_make(struct hl_machine *m, const struct hl_vm_tracker *tracker,
                    const char *memory, size_t size, char *why)
{
    if (fits(m, tracker, memory, size) && m->driver->renew(m->vm) == 0) {
        m->blank = false;
        return 0;
    }
    destroy_vm(m, false);
    return create(m, tracker, memory, size, why);
}

int hl_machine_track(struct hl_machine *m, void *memory, size_t page_count,
                     struct hl_tracker **out, char *why)
{
    if (m->tracker == NULL)
        return m->config.tracker->open(m->vm, memory, page_count, out, why);
    *out = m->tracker;
    m->tracker = NULL;
    return 0;
}

int hl_machine_finish(const struct hl_machine *m)
{
    return m->driver->finish ? m->driver->finish(m->vm) : 0;
}

static void wipe_stretch(void *context, uintptr_t start, uintptr_t end)
{
    size_t *room = context, pages = (end - start) / hl_page_size();

    *room = pages > *room ? 0 : *room - pages;
    if (*room > 0)
        memset((void *)start, 0, end - start);
}

/* B1: what exists is made zero.  Dropping it would cost the next guest a fault
 * a page, and the kernel a call to each machine of the process. */
static bool wipe(const struct hl_machine *m)
{
    size_t room = HL_BLANK_PAGES + 1;

    return hl_look_touched(m->map.addr, m->map.size, wipe_stretch, &room) ==
               0 &&
           room > 0;
}

/* B1: what was written until now is of no interest to anybody. */
static bool forget(struct hl_tracker *tracker)
{
    struct hl_pages written;

    if (hl_pages_init(&written, tracker->page_count) < 0)
        return false;
    bool ok = tracker->ops->collect(tracker, &written) == 0;
    tracker->collected = false;
    hl_pages_free(&written);
    return ok;
}

static bool make_blank(struct hl_machine *m)
{
    const struct hl_driver_ops *driver = m->driver;

    if (m->vm == NULL || driver->renew == NULL || m->config.finer_count ||
        (m->config.tracker && !m->tracker) || hl_machine_finish(m) < 0 ||
        !wipe(m))
        return false;
    return m->tracker == NULL || forget(m->tracker);
}

/* The oldest goes. */
static void add_blank(const struct hl_machine *m)
{
    struct hl_machine oldest = {0};

    hl_lock_acquire(&lock);
    if (blank_count == HL_BLANKS)
        oldest = blanks[--blank_count];
    memmove(&blanks[1], &blanks[0], blank_count * sizeof *blanks);
    blanks[0] = *m;
    blank_count++;
    hl_lock_release(&lock);
    destroy(&oldest, false);
}

void hl_machine_end(struct hl_machine *m, bool may_keep)
{
    if (may_keep && make_blank(m))
        add_blank(m);
    else
        destroy(m, false);
    *m = (struct hl_machine){.driver = m->driver};
}

size_t hl_machine_drop_blanks(void)
{
    struct hl_machine one;
    size_t dropped = 0;

    for (bool found = true; found;) {
        hl_lock_acquire(&lock);
        found = blank_count > 0;
        if (found)
            one = blanks[--blank_count];
        hl_lock_release(&lock);
        if (found) {
            destroy(&one, false);
            dropped++;
        }
    }
    return dropped;
}

size_t hl_machine_blanks(void)
{
    hl_lock_acquire(&lock);
    size_t count = blank_count;
    hl_lock_release(&lock);
    return count;
}

/* They are the parent's. */
static void in_child(struct hl_lock *unused)
{
    (void)unused;
    while (blank_count > 0)
        destroy(&blanks[--blank_count], true);
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_MACHINES);
    lock.in_child = in_child;
}
