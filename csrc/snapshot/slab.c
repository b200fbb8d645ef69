#include "snapshot/slab.h"

#include <stdlib.h>

#include "mem/bitmap.h"
#include "mem/runs.h"
#include "os/joined.h"
#include "os/lock.h"
#include "os/memory.h"

/* Mappings without a slab, of SPARE_SIZE bytes, of which at most SPARE_USED
 * slots were ever filled: they may hold anything. */
#define SPARES 4
#define SPARE_SIZE ((size_t)1 << 20)
#define SPARE_USED 64

static struct hl_lock lock;
static void *spares[SPARES];
static size_t spare_count;

static void *take_spare(size_t size)
{
    void *mapping = NULL;

    if (size != SPARE_SIZE)
        return NULL;
    hl_lock_acquire(&lock);
    if (spare_count > 0)
        mapping = spares[--spare_count];
    hl_lock_release(&lock);
    return mapping;
}

static bool keep_spare(const struct hl_slab *slab)
{
    bool kept = false;

    if (slab->mapped != SPARE_SIZE || slab->end > SPARE_USED)
        return false;
    hl_lock_acquire(&lock);
    if (spare_count < SPARES) {
        spares[spare_count++] = slab->mapping;
        kept = true;
    }
    hl_lock_release(&lock);
    return kept;
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_SLAB);
}

/* Memory of no page yet.  One page is to take one page, even where the
 * system's default is huge pages everywhere. */
static void *map(size_t size)
{
    void *mapping = take_spare(size);

    if (mapping == NULL &&
        hl_joined_reserve(&hl_anonymous, size, &mapping) < 0)
        return NULL;
    return mapping;
}

int hl_slab_map(struct hl_slab *slab, size_t slots, size_t page_size)
{
    size_t words = hl_bitmap_words(slots), size = slots * page_size;

    *slab = (struct hl_slab){.slots = slots, .page_size = page_size};
    slab->mapped = size < HL_HUGE_SIZE ? size : size + HL_HUGE_SIZE;
    slab->mapping = map(slab->mapped);
    slab->refs = calloc(slab->slots, sizeof *slab->refs);
    slab->free = calloc(words, sizeof *slab->free);
    slab->warm = calloc(words, sizeof *slab->warm);
    if (!slab->mapping || !slab->refs || !slab->free || !slab->warm) {
        hl_slab_unmap(slab);
        return -ENOMEM;
    }
    uintptr_t up =
        size < HL_HUGE_SIZE ? 0 : (uintptr_t)slab->mapping % HL_HUGE_SIZE;
    slab->mem = slab->mapping + (up ? HL_HUGE_SIZE - up : 0);
    return 0;
}

void hl_slab_unmap(struct hl_slab *slab)
{
    if (slab->mapping != NULL && !keep_spare(slab))
        hl_joined_release(slab->mapping, slab->mapped);
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

    if (start < end && hl_huge_is_wanted())
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
        hl_memory_forget(slab->mem + run.first * slab->page_size,
                         run.count * slab->page_size);
        count += run.count;
    }
    hl_bitmap_zero(slab->warm, slab->slots);
    return count;
}
