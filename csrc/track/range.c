#include "track/range.h"

#include <stdlib.h>
#include <string.h>

#include "os/lock.h"
#include "track/track.h"

struct range {
    uintptr_t start, end;
};

/* Ascending and disjoint.  Process-wide because pages are: two managers must
 * not track the same one, whoever made them.
 *
 * The room that is left lies where the last change was, before the range of
 * index `gap`: the next change is mostly beside it, as addresses come and go
 * in order, and then moves next to nothing, however many ranges there are. */
static struct hl_lock lock;
static struct range *ranges;
static size_t count, cap, gap;

static struct range *nth(size_t i)
{
    return &ranges[i < gap ? i : i + (cap - count)];
}

static void move_gap(size_t to)
{
    size_t room = cap - count;

    if (to < gap)
        memmove(&ranges[to + room], &ranges[to], (gap - to) * sizeof *ranges);
    else if (to > gap)
        memmove(&ranges[gap], &ranges[gap + room],
                (to - gap) * sizeof *ranges);
    gap = to;
}

/* Index of the first range that ends after `at`. */
static size_t first_ending_after(uintptr_t at)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (nth(mid)->end > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static int grow(void)
{
    if (count < cap)
        return 0;
    size_t more = cap ? cap * 2 : 16;
    struct range *bigger = realloc(ranges, more * sizeof *ranges);
    if (bigger == NULL)
        return -ENOMEM;
    ranges = bigger;
    cap = more;
    /* There was no room: all of them lie in front of the new one. */
    gap = count;
    return 0;
}

int hl_range_claim(const void *addr, size_t size, char *why)
{
    uintptr_t start = (uintptr_t)addr, end = start + size;

    hl_lock_acquire(&lock);
    size_t i = first_ending_after(start);
    int err;
    if (i < count && nth(i)->start < end) {
        uintptr_t other = nth(i)->start;
        err = hl_why(why, -EEXIST,
                     "%#zx+%zu overlaps %#zx+%zu, which is tracked already",
                     (size_t)start, size, (size_t)other,
                     (size_t)(nth(i)->end - other));
    } else if ((err = grow()) < 0) {
        (void)hl_why(why, err, "out of memory");
    } else {
        move_gap(i);
        ranges[gap++] = (struct range){start, end};
        count++;
    }
    hl_lock_release(&lock);
    return err;
}

void hl_range_release(const void *addr)
{
    hl_lock_acquire(&lock);
    size_t i = first_ending_after((uintptr_t)addr);
    if (i < count && nth(i)->start == (uintptr_t)addr) {
        move_gap(i);
        count--; /* and so the room goes on to what follows it */
    }
    hl_lock_release(&lock);
}

bool hl_range_find(const void *addr, size_t size, uintptr_t *start,
                   uintptr_t *end)
{
    uintptr_t at = (uintptr_t)addr;

    hl_lock_acquire(&lock);
    size_t i = first_ending_after(at);
    bool found = i < count && nth(i)->start < at + size;
    if (found) {
        *start = nth(i)->start;
        *end = nth(i)->end;
    }
    hl_lock_release(&lock);
    return found;
}

size_t hl_range_count(void)
{
    hl_lock_acquire(&lock);
    size_t n = count;
    hl_lock_release(&lock);
    return n;
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_RANGE);
}
