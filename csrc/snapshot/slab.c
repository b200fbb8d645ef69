#include "snapshot/slab.h"

#include <stdlib.h>

#include "mem/bitmap.h"
#include "mem/runs.h"
#include "os/memory.h"

int hl_slab_map(struct hl_slab *slab, size_t slots, size_t page_size)
{
    size_t words = hl_bitmap_words(slots), size = slots * page_size;

    *slab = (struct hl_slab){.slots = slots, .page_size = page_size};
    slab->mapped = size < HL_HUGE_SIZE ? size : size + HL_HUGE_SIZE;
    void *mapping = NULL;
    if (hl_memory_reserve(&hl_anonymous, slab->mapped, true, &mapping) == 0)
        slab->mapping = mapping;
    slab->refs = calloc(slab->slots, sizeof *slab->refs);
    slab->free = calloc(words, sizeof *slab->free);
    slab->warm = calloc(words, sizeof *slab->warm);
    if (!slab->mapping || !slab->refs || !slab->free || !slab->warm) {
        hl_slab_unmap(slab);
        return -ENOMEM;
    }
    uintptr_t up = size < HL_HUGE_SIZE ? 0 : (uintptr_t)mapping % HL_HUGE_SIZE;
    slab->mem = slab->mapping + (up ? HL_HUGE_SIZE - up : 0);
    /* One page is to take one page, even where the system's default is huge
     * pages everywhere. */
    hl_memory_want_huge(mapping, slab->mapped, false);
    return 0;
}

void hl_slab_unmap(struct hl_slab *slab)
{
    if (slab->mapping != NULL)
        hl_memory_release(slab->mapping, slab->mapped);
    free(slab->refs);
    free(slab->free);
    free(slab->warm);
    *slab = (struct hl_slab){0};
}

void hl_slab_want_huge(const struct hl_slab *slab, size_t first, size_t count)
{
    size_t start = hl_align_up(first * slab->page_size, HL_HUGE_SIZE);
    size_t end =
        hl_align_down((first + count) * slab->page_size, HL_HUGE_SIZE);

    if (start < end)
        hl_memory_want_huge(slab->mem + start, end - start, true);
}

/* No huge pages where there will be holes: the next page stored would bring
 * in 512, and khugepaged would fill the holes by itself. */
static void forbid_huge(const struct hl_slab *slab)
{
    const size_t page = slab->page_size, huge = HL_HUGE_SIZE / page;
    size_t start = 0, end = 0;
    struct hl_run run;

    for (size_t at = 0; hl_run_next(slab->warm, slab->end, &at, &run);) {
        size_t first = hl_align_down(run.first, huge);
        if (first > end) { /* what adjoins is one syscall and one mapping */
            hl_memory_want_huge(slab->mem + start * page, (end - start) * page,
                                false);
            start = first;
        }
        end = hl_align_up(run.first + run.count, huge);
        if (end > slab->slots)
            end = slab->slots;
    }
    hl_memory_want_huge(slab->mem + start * page, (end - start) * page, false);
}

size_t hl_slab_cool(struct hl_slab *slab)
{
    size_t count = 0;
    struct hl_run run;

    forbid_huge(slab);
    for (size_t at = 0; hl_run_next(slab->warm, slab->end, &at, &run);) {
        (void)hl_memory_drop(slab->mem + run.first * slab->page_size,
                             run.count * slab->page_size);
        count += run.count;
    }
    hl_bitmap_zero(slab->warm, slab->slots);
    return count;
}
