#include "snapshot/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fail.h"
#include "mem/bitmap.h"
#include "mem/runs.h"
#include "snapshot/nodes.h"

/* Slab k has FIRST_SLAB << k slots, so that a slot's slab follows from the
 * slot's highest bit and nothing ever moves. */
#define FIRST_SLAB ((size_t)256)
#define SLABS 24

/* Free pages kept resident: a quarter of the live ones, or this many. */
#define SMALLEST_RESERVE ((size_t)256)

/* A free run this long is taken for any request... */
#define LONG_RUN ((size_t)16)
/* ...and of so many shorter ones the longest. */
#define LOOK_AT 8
/* Where little is free, this many slots are looked through for it at a time:
 * one free page in a GiB must not cost every take a walk through the GiB. */
#define LOOK_THROUGH ((size_t)8192)

#define HUGE_SIZE ((size_t)2 << 20)

struct slab {
    char *base; /* of the mapping, for munmap */
    char *mem;  /* of the first slot */
    size_t slots;
    size_t end; /* slots from here on were never used */
    size_t live;
    uint32_t *refs;
    uint64_t *free; /* below `end`, nobody's */
    uint64_t *warm; /* those of them that are resident */
};

struct hl_store {
    pthread_mutex_t lock;
    unsigned refs; /* guarded by lock */
    size_t page_size;
    struct slab slabs[SLABS];
    size_t slab_count;
    size_t live, free, warm;    /* pages */
    size_t cursor_slab, cursor; /* where the search for free runs goes on */
    bool aim;                   /* the next slot freed is where it goes on */
    struct hl_nodes nodes;
};

static atomic_size_t alive;

size_t hl_store_count(void) { return atomic_load(&alive); }

int hl_store_new(struct hl_store **out, size_t page_size)
{
    struct hl_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    s->refs = 1;
    s->page_size = page_size;
    s->aim = true;
    atomic_fetch_add(&alive, 1);
    *out = s;
    return 0;
}

struct hl_store *hl_store_ref(struct hl_store *s)
{
    hl_store_lock(s);
    s->refs++;
    hl_store_unlock(s);
    return s;
}

static size_t mapped_size(const struct hl_store *s, const struct slab *slab)
{
    return slab->slots * s->page_size + HUGE_SIZE;
}

static void unmap_slab(const struct hl_store *s, struct slab *slab)
{
    if (slab->base != NULL)
        munmap(slab->base, mapped_size(s, slab));
    free(slab->refs);
    free(slab->free);
    free(slab->warm);
    *slab = (struct slab){0};
}

void hl_store_unref(struct hl_store *s)
{
    hl_store_lock(s);
    bool last = --s->refs == 0;
    hl_store_unlock(s);
    if (!last)
        return;
    for (size_t k = 0; k < s->slab_count; k++)
        unmap_slab(s, &s->slabs[k]);
    hl_nodes_free(&s->nodes);
    pthread_mutex_destroy(&s->lock);
    free(s);
    atomic_fetch_sub(&alive, 1);
}

void hl_store_lock(struct hl_store *s) { pthread_mutex_lock(&s->lock); }
void hl_store_unlock(struct hl_store *s) { pthread_mutex_unlock(&s->lock); }
struct hl_nodes *hl_store_nodes(struct hl_store *s) { return &s->nodes; }

size_t hl_store_page_size(const struct hl_store *s) { return s->page_size; }

/* First slot of slab k; slot 0 is the zero page. */
static uint32_t slab_start(size_t k)
{
    return (uint32_t)(FIRST_SLAB * (((size_t)1 << k) - 1) + 1);
}

static size_t slab_of(uint32_t slot)
{
    size_t n = (slot - 1) / FIRST_SLAB + 1;
    return 63 - (size_t)__builtin_clzll(n);
}

void *hl_store_page(const struct hl_store *s, uint32_t slot)
{
    if (slot == HL_SLOT_ZERO)
        return NULL;
    size_t k = slab_of(slot);
    return s->slabs[k].mem + (size_t)(slot - slab_start(k)) * s->page_size;
}

static int map_slab(struct hl_store *s, size_t k)
{
    struct slab *slab = &s->slabs[k];

    *slab = (struct slab){.slots = FIRST_SLAB << k};
    size_t words = hl_bitmap_words(slab->slots);
    char *base = mmap(NULL, mapped_size(s, slab), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base != MAP_FAILED)
        slab->base = base;
    slab->refs = calloc(slab->slots, sizeof *slab->refs);
    slab->free = calloc(words, sizeof *slab->free);
    slab->warm = calloc(words, sizeof *slab->warm);
    if (!slab->base || !slab->refs || !slab->free || !slab->warm) {
        unmap_slab(s, slab);
        return -ENOMEM;
    }
    uintptr_t up = (uintptr_t)base % HUGE_SIZE;
    slab->mem = base + (up ? HUGE_SIZE - up : 0);
    /* One page is to take one page, even where the system's default is huge
     * pages everywhere. */
    (void)madvise(base, mapped_size(s, slab), MADV_NOHUGEPAGE);
    return 0;
}

/* Whole huge pages inside a run that is about to be filled: one fault each in
 * place of 512. */
static void ask_for_huge(const struct hl_store *s, const struct slab *slab,
                         size_t first, size_t count)
{
    size_t start = first * s->page_size, end = start + count * s->page_size;

    start = (start + HUGE_SIZE - 1) / HUGE_SIZE * HUGE_SIZE;
    end = end / HUGE_SIZE * HUGE_SIZE;
    if (start < end)
        (void)madvise(slab->mem + start, end - start, MADV_HUGEPAGE);
}

/* Slots that were never used, from the newest slab that has any. */
static ssize_t alloc_fresh(struct hl_store *s, size_t want, size_t *k,
                           size_t *first)
{
    struct slab *slab = s->slab_count ? &s->slabs[s->slab_count - 1] : NULL;

    if (slab == NULL || slab->end == slab->slots) {
        if (s->slab_count == SLABS)
            return -ENOMEM;
        int err = map_slab(s, s->slab_count);
        if (err < 0)
            return err;
        slab = &s->slabs[s->slab_count++];
    }
    *k = (size_t)(slab - s->slabs);
    *first = slab->end;
    size_t got = slab->slots - slab->end;
    if (got > want)
        got = want;
    slab->end += got;
    return (ssize_t)got;
}

/* The next free run at or after the cursor, wrapping around, or false if it
 * does not begin within *look slots; takes from *look what it went past.  A
 * run is measured up to `want`: one page asked for is one page looked at,
 * however much lies free behind it. */
static bool next_free(struct hl_store *s, size_t want, size_t *look, size_t *k,
                      struct hl_run *run)
{
    while (*look > 0) {
        struct slab *slab = &s->slabs[s->cursor_slab];
        size_t from = s->cursor, room = slab->end - from;
        size_t stop = from + (room < *look ? room : *look);
        size_t first = hl_page_next(slab->free, stop, from);
        *look -= first - from;
        s->cursor = first;
        if (first < stop) {
            size_t end =
                first + (slab->end - first < want ? slab->end - first : want);
            *k = s->cursor_slab;
            return hl_run_next(slab->free, end, &s->cursor, run);
        }
        if (stop == slab->end) {
            s->cursor = 0;
            s->cursor_slab = (s->cursor_slab + 1) % s->slab_count;
        }
    }
    return false;
}

/* The slots of a free run are somebody's now. */
static void claim(struct hl_store *s, size_t k, struct hl_run run)
{
    struct slab *slab = &s->slabs[k];

    for (size_t i = run.first; i < run.first + run.count; i++)
        s->warm -= hl_bitmap_test(slab->warm, i);
    hl_bitmap_clear_range(slab->warm, run.first, run.count);
    hl_bitmap_clear_range(slab->free, run.first, run.count);
    s->free -= run.count;
    /* Go on behind what was taken, not behind the whole run. */
    s->cursor_slab = k;
    s->cursor = run.first + run.count;
}

/* A freed run that is worth taking; 0 if there is none. */
static size_t alloc_reused(struct hl_store *s, size_t want, size_t *k,
                           size_t *first)
{
    struct hl_run run, best = {0, 0};
    size_t enough = want < LONG_RUN ? want : LONG_RUN, at;
    bool few = s->free < s->live / 4;
    /* More than few are found soon, or used up before the next time around. */
    size_t look = few ? LOOK_THROUGH : 2 * (FIRST_SLAB << s->slab_count);

    if (s->free == 0)
        return 0;
    for (int i = 0; i < LOOK_AT && best.count < enough; i++) {
        if (!next_free(s, want, &look, &at, &run))
            break;
        if (run.count > best.count) {
            best = run;
            *k = at;
        }
    }
    /* Crumbs are left lying while they are few. */
    if (best.count == 0 || (best.count < enough && few))
        return 0;
    *first = best.first;
    claim(s, *k, best);
    return best.count;
}

ssize_t hl_store_alloc(struct hl_store *s, size_t want, uint32_t *first)
{
    size_t k = 0, at = 0;

    if (HL_FAIL(HL_FAIL_STORE_ALLOC))
        return -ENOMEM;
    hl_store_lock(s);
    ssize_t got = (ssize_t)alloc_reused(s, want, &k, &at);
    if (got == 0)
        got = alloc_fresh(s, want, &k, &at);
    for (ssize_t i = 0; i < got; i++)
        s->slabs[k].refs[at + (size_t)i] = 1;
    if (got > 0) {
        ask_for_huge(s, &s->slabs[k], at, (size_t)got);
        s->slabs[k].live += (size_t)got;
        s->live += (size_t)got;
        *first = slab_start(k) + (uint32_t)at;
    }
    hl_store_unlock(s);
    return got;
}

/* No huge pages where there will be holes: the next page stored would bring
 * in 512, and khugepaged would fill the holes by itself. */
static void forbid_huge(const struct hl_store *s, const struct slab *slab)
{
    size_t huge = HUGE_SIZE / s->page_size, start = 0, end = 0;
    struct hl_run run;

    for (size_t at = 0; hl_run_next(slab->warm, slab->end, &at, &run);) {
        size_t first = run.first / huge * huge;
        if (first > end) { /* what adjoins is one syscall and one mapping */
            (void)madvise(slab->mem + start * s->page_size,
                          (end - start) * s->page_size, MADV_NOHUGEPAGE);
            start = first;
        }
        end = (run.first + run.count + huge - 1) / huge * huge;
        if (end > slab->slots)
            end = slab->slots;
    }
    (void)madvise(slab->mem + start * s->page_size,
                  (end - start) * s->page_size, MADV_NOHUGEPAGE);
}

/* Give resident free pages of one slab back to the system. */
static void cool_slab(struct hl_store *s, struct slab *slab)
{
    struct hl_run run;

    forbid_huge(s, slab);
    for (size_t at = 0; hl_run_next(slab->warm, slab->end, &at, &run);) {
        (void)madvise(slab->mem + run.first * s->page_size,
                      run.count * s->page_size, MADV_DONTNEED);
        s->warm -= run.count;
    }
    hl_bitmap_zero(slab->warm, slab->slots);
}

/* The newest slabs go whole once they are empty. */
static void drop_empty_slabs(struct hl_store *s)
{
    while (s->slab_count > 1) {
        struct slab *slab = &s->slabs[s->slab_count - 1];
        if (slab->live != 0)
            break;
        s->warm -= hl_bitmap_count(slab->warm, slab->end);
        s->free -= slab->end;
        unmap_slab(s, slab);
        s->slab_count--;
        s->cursor_slab = s->cursor = 0;
    }
}

/* Keep what is free and resident within its bounds: over the reserve, down to
 * half of it, so that the next few pages freed cost nothing. */
static void trim(struct hl_store *s)
{
    size_t reserve = s->live / 4;

    s->aim = true; /* a series of releases ends here */
    if (reserve < SMALLEST_RESERVE)
        reserve = SMALLEST_RESERVE;
    if (s->warm <= reserve)
        return;
    drop_empty_slabs(s);
    for (size_t k = s->slab_count; k-- > 0 && s->warm > reserve / 2;)
        cool_slab(s, &s->slabs[k]);
}

void hl_store_hold_locked(struct hl_store *s, uint32_t slot)
{
    if (slot == HL_SLOT_ZERO)
        return;
    size_t k = slab_of(slot);
    s->slabs[k].refs[slot - slab_start(k)]++;
}

void hl_store_release_locked(struct hl_store *s, uint32_t slot)
{
    if (slot == HL_SLOT_ZERO)
        return;
    size_t k = slab_of(slot), i = slot - slab_start(k);
    struct slab *slab = &s->slabs[k];
    if (--slab->refs[i] > 0)
        return;
    hl_bitmap_set(slab->free, i);
    hl_bitmap_set(slab->warm, i);
    if (s->aim) { /* what was freed last is still in the cache */
        s->cursor_slab = k;
        s->cursor = i;
        s->aim = false;
    }
    slab->live--;
    s->live--;
    s->free++;
    s->warm++;
}

void hl_store_trim_locked(struct hl_store *s)
{
    trim(s);
    hl_nodes_trim(&s->nodes);
}

bool hl_store_is_shared_locked(const struct hl_store *s, uint32_t slot)
{
    size_t k = slab_of(slot);
    return s->slabs[k].refs[slot - slab_start(k)] > 1;
}

void hl_store_release(struct hl_store *s, uint32_t first, size_t count)
{
    hl_store_lock(s);
    for (size_t i = 0; i < count; i++)
        hl_store_release_locked(s, first + (uint32_t)i);
    trim(s);
    hl_store_unlock(s);
}

void hl_store_usage(struct hl_store *s, struct hl_store_usage *usage)
{
    hl_store_lock(s);
    *usage = (struct hl_store_usage){
        .pages = s->live,
        .nodes = s->nodes.live,
        .bytes = s->live * s->page_size + s->nodes.live * HL_NODE_BYTES,
        .reserved = s->warm * s->page_size,
    };
    hl_store_unlock(s);
}
