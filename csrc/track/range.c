#include "track/range.h"

#include <stdlib.h>
#include <string.h>

#include "os/lock.h"
#include "track/track.h"

struct range {
    uintptr_t start, end;
};

/* Ascending and disjoint.  Process-wide because pages are: two managers must
 * not track the same one, whoever made them. */
static struct hl_lock lock;
static struct range *ranges;
static size_t count, cap;

/* Index of the first range that ends after `at`. */
static size_t first_ending_after(uintptr_t at)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ranges[mid].end > at)
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
    return 0;
}

int hl_range_claim(const void *addr, size_t size, char *why)
{
    uintptr_t start = (uintptr_t)addr, end = start + size;

    hl_lock_acquire(&lock);
    size_t i = first_ending_after(start);
    int err;
    if (i < count && ranges[i].start < end) {
        uintptr_t other = ranges[i].start;
        err = hl_why(why, -EEXIST,
                     "%p+%zu overlaps %p+%zu, which is tracked already", addr,
                     size, (void *)other, (size_t)(ranges[i].end - other));
    } else if ((err = grow()) < 0) {
        (void)hl_why(why, err, "out of memory");
    } else {
        memmove(&ranges[i + 1], &ranges[i], (count - i) * sizeof *ranges);
        ranges[i] = (struct range){start, end};
        count++;
    }
    hl_lock_release(&lock);
    return err;
}

void hl_range_release(const void *addr)
{
    hl_lock_acquire(&lock);
    size_t i = first_ending_after((uintptr_t)addr);
    if (i < count && ranges[i].start == (uintptr_t)addr) {
        memmove(&ranges[i], &ranges[i + 1], (count - i - 1) * sizeof *ranges);
        count--;
    }
    hl_lock_release(&lock);
}

bool hl_range_find(const void *addr, size_t size, uintptr_t *start,
                   uintptr_t *end)
{
    uintptr_t at = (uintptr_t)addr;

    hl_lock_acquire(&lock);
    size_t i = first_ending_after(at);
    bool found = i < count && ranges[i].start < at + size;
    if (found) {
        *start = ranges[i].start;
        *end = ranges[i].end;
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
