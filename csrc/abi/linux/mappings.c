#include "abi/linux/mappings.h"

#include <string.h>

size_t hl_linux_mapping_behind(const struct hl_linux_process *p, uint64_t addr)
{
    size_t low = 0, high = p->mapping_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (p->mappings[middle].end <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Replace `gone` mappings from `at` on by these.  The caller knows that there
 * is room. */
static void splice(struct hl_linux *l, size_t at, size_t gone,
                   const struct hl_linux_mapping *with, size_t count)
{
    struct hl_linux_process *p = l->process;
    struct hl_linux_mapping *m = p->mappings;
    size_t before = p->mapping_count, after = before - gone + count;

    hl_window_own(&l->window, &m[at],
                  ((before > after ? before : after) - at) * sizeof *m);
    memmove(&m[at + count], &m[at + gone], (before - at - gone) * sizeof *m);
    if (count)
        memcpy(&m[at], with, count * sizeof *m);
    if (before > after) /* nothing of it is for the next */
        memset(&m[after], 0, (before - after) * sizeof *m);
    p->mapping_count = after;
}

static bool joins(const struct hl_linux_mapping *a,
                  const struct hl_linux_mapping *b)
{
    return a->end == b->start && a->prot == b->prot &&
           a->shared == b->shared && a->from_file == b->from_file &&
           a->baked == b->baked;
}

/* Join the mapping with its neighbours as far as they are alike. */
static void join(struct hl_linux *l, size_t at)
{
    const struct hl_linux_mapping *m = l->process->mappings;
    size_t first = at, last = at;

    if (at > 0 && joins(&m[at - 1], &m[at]))
        first--;
    if (at + 1 < l->process->mapping_count && joins(&m[at], &m[at + 1]))
        last++;
    if (first == last)
        return;
    struct hl_linux_mapping all = m[first];
    all.end = m[last].end;
    splice(l, first, last - first + 1, &all, 1);
}

size_t hl_linux_baked_in(const struct hl_linux_process *p, uint64_t start,
                         uint64_t end)
{
    size_t at = hl_linux_mapping_behind(p, start);

    while (at < p->mapping_count && p->mappings[at].start < end &&
           !p->mappings[at].baked)
        at++;
    return at < p->mapping_count && p->mappings[at].start < end
               ? at
               : p->mapping_count;
}

bool hl_linux_can_map(const struct hl_linux *l, size_t more)
{
    return HL_LINUX_MAPPINGS - l->process->mapping_count >= more;
}

int hl_linux_map_as(struct hl_linux *l, uint64_t start, uint64_t end,
                    const struct hl_linux_mapping *with)
{
    struct hl_linux_process *p = l->process;
    struct hl_linux_mapping parts[3];
    size_t count = 0, at = hl_linux_mapping_behind(p, start), behind = at,
           middle;

    if (!hl_linux_can_map(l, 2))
        return -ENOMEM;
    while (behind < p->mapping_count && p->mappings[behind].start < end)
        behind++;
    if (behind > at && p->mappings[at].start < start) {
        parts[count] = p->mappings[at];
        parts[count++].end = start;
    }
    middle = at + count;
    if (with)
        parts[count++] = *with;
    if (behind > at && p->mappings[behind - 1].end > end) {
        parts[count] = p->mappings[behind - 1];
        parts[count++].start = end;
    }
    if (behind > at || count > 0)
        splice(l, at, behind - at, parts, count);
    if (with)
        join(l, middle);
    return 0;
}
