#include "os/joined.h"

#include <stdatomic.h>
#include <string.h>

#include "os/lock.h"

struct range {
    char *start, *end;
};

struct waiting {
    struct range ranges[HL_JOINED_RANGES]; /* none adjoins another */
    size_t count, bytes;
};

static struct hl_lock lock; /* of `waiting` */
static struct waiting waiting;
static atomic_size_t in_use;

/* A range that adjoins both of its neighbours makes one of the three. */
static void join(struct waiting *w, struct range new)
{
    size_t kept = 0;

    for (size_t i = 0; i < w->count; i++) {
        const struct range *old = &w->ranges[i];
        if (old->end == new.start)
            new.start = old->start;
        else if (old->start == new.end)
            new.end = old->end;
        else
            w->ranges[kept++] = *old;
    }
    w->ranges[kept] = new;
    w->count = kept + 1;
}

static bool is_full(const struct waiting *w)
{
    return w->count == HL_JOINED_RANGES || w->bytes > HL_JOINED_WAIT;
}

/* Not with the lock held: it takes the kernel long. */
static void give_back(const struct waiting *w)
{
    for (size_t i = 0; i < w->count; i++)
        hl_memory_release(w->ranges[i].start,
                          (size_t)(w->ranges[i].end - w->ranges[i].start));
}

static struct waiting take_all(void)
{
    struct waiting all = waiting;

    waiting.count = waiting.bytes = 0;
    return all;
}

static void wait_with_others(void *addr, size_t size)
{
    struct waiting full = {.count = 0};

    hl_lock_acquire(&lock);
    join(&waiting, (struct range){addr, (char *)addr + size});
    waiting.bytes += size;
    if (is_full(&waiting))
        full = take_all();
    hl_lock_release(&lock);
    give_back(&full);
}

size_t hl_joined_flush(void)
{
    hl_lock_acquire(&lock);
    struct waiting all = take_all();
    hl_lock_release(&lock);
    give_back(&all);
    return all.bytes;
}

size_t hl_joined_waiting(void)
{
    hl_lock_acquire(&lock);
    size_t bytes = waiting.bytes;
    hl_lock_release(&lock);
    return bytes;
}

void hl_joined_adopt(void) { atomic_fetch_add(&in_use, 1); }

int hl_joined_make_room(const struct hl_backing *backing, size_t size,
                        bool usable, void **addr)
{
    int err = hl_memory_reserve(backing, size, usable, addr);

    if (err == -ENOMEM && hl_joined_flush() > 0)
        err = hl_memory_reserve(backing, size, usable, addr);
    return err;
}

int hl_joined_reserve(const struct hl_backing *backing, size_t size,
                      void **addr)
{
    int err = hl_joined_make_room(backing, size, true, addr);

    if (err < 0)
        return err;
    hl_joined_adopt();
    hl_memory_want_huge(*addr, size, false);
    return 0;
}

/* J1: whoever makes it few gives back what waits, and whoever adds to that
 * looks whether it became few meanwhile. */
void hl_joined_release(void *addr, size_t size)
{
    if (atomic_fetch_sub(&in_use, 1) > HL_JOINED_MANY)
        wait_with_others(addr, size);
    else
        hl_memory_release(addr, size);
    if (atomic_load(&in_use) < HL_JOINED_MANY)
        (void)hl_joined_flush();
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_JOINED);
}
