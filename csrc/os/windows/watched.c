#include "os/windows/watched.h"

#include <stdlib.h>
#include <string.h>

#include "os/native.h"

struct watched {
    uintptr_t start, end;
    bool forgot;
};

/* Ascending and disjoint. */
static hl_mutex lock = HL_MUTEX_INIT;
static struct watched *all;
static size_t count, room;

/* Index of the first that ends after `at`. */
static size_t first_ending_after(uintptr_t at)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (all[mid].end > at)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static struct watched *find(uintptr_t at)
{
    size_t i = first_ending_after(at);

    return i < count && all[i].start <= at ? &all[i] : NULL;
}

static bool grow(void)
{
    if (count < room)
        return true;
    size_t more = room ? 2 * room : 16;
    struct watched *bigger = realloc(all, more * sizeof *all);
    if (bigger == NULL)
        return false;
    all = bigger;
    room = more;
    return true;
}

void hl_watched_add(void *base, size_t size)
{
    uintptr_t start = (uintptr_t)base;

    hl_mutex_lock(&lock);
    size_t i = first_ending_after(start);
    if (grow()) {
        memmove(&all[i + 1], &all[i], (count - i) * sizeof *all);
        all[i] = (struct watched){start, start + size, false};
        count++;
    }
    hl_mutex_unlock(&lock);
}

void hl_watched_remove(void *base)
{
    hl_mutex_lock(&lock);
    struct watched *found = find((uintptr_t)base);
    if (found) {
        size_t i = (size_t)(found - all);
        memmove(found, found + 1, (count - i - 1) * sizeof *all);
        count--;
    }
    hl_mutex_unlock(&lock);
}

void hl_watched_forgets(const void *addr)
{
    hl_mutex_lock(&lock);
    struct watched *found = find((uintptr_t)addr);
    if (found)
        found->forgot = true;
    hl_mutex_unlock(&lock);
}

bool hl_watched_knows_all(const void *addr, size_t size)
{
    uintptr_t at = (uintptr_t)addr;

    hl_mutex_lock(&lock);
    const struct watched *found = find(at);
    bool knows = found && !found->forgot && at + size <= found->end;
    hl_mutex_unlock(&lock);
    return knows;
}
