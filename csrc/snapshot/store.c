#include "snapshot/store.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "mem/bitmap.h"
#include "mem/runs.h"
#include "os/lock.h"
#include "os/others.h"
#include "snapshot/nodes.h"
#include "snapshot/slab.h"

/* Slab k has FIRST_SLAB << k slots, so that a slot's slab follows from the
 * slot's highest bit and nothing ever moves.  Where the system has no room for
 * that, it has fewer, and the rest of its numbers are never used. */
#define FIRST_SLAB ((size_t)256)
#define SMALLEST_SLAB ((size_t)16)
#define SLABS 24

/* Free pages kept resident: a quarter of the live ones, or this many. */
#define SMALLEST_RESERVE ((size_t)256)

/* A free run this long is taken for any request... */
#define LONG_RUN ((size_t)16)
/* ...and of so many shorter ones the longest. */
#define LOOK_AT 8
/* If little is free, at most this many slots are searched at a time: one free
 * page in a GiB must not make every take walk through the GiB. */
#define LOOK_THROUGH ((size_t)8192)

/* The time to free the index's chunks is negligible. */
#define FEW_CHUNKS 8

struct hl_store {
    struct hl_lock lock;
    unsigned refs; /* guarded by lock */
    size_t page_size;
    struct hl_slab slabs[SLABS];
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
    hl_lock_init(&s->lock, HL_RANK_STORE);
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

void hl_store_unref(struct hl_store *s)
{
    hl_store_lock(s);
    bool last = --s->refs == 0;
    hl_store_unlock(s);
    if (!last)
        return;
    hl_let_others_run();
    for (size_t k = 0; k < s->slab_count; k++)
        hl_slab_unmap(&s->slabs[k]);
    hl_nodes_free(&s->nodes);
    hl_lock_destroy(&s->lock);
    free(s);
    atomic_fetch_sub(&alive, 1);
}

void hl_store_lock(struct hl_store *s) { hl_lock_acquire(&s->lock); }
void hl_store_unlock(struct hl_store *s) { hl_lock_release(&s->lock); }
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

/* Slots that were never used, of the newest slab; 0 if it has none left. */
static size_t alloc_fresh(struct hl_store *s, size_t want, size_t *k,
                          size_t *first)
{
    struct hl_slab *slab = s->slab_count ? &s->slabs[s->slab_count - 1] : NULL;

    if (slab == NULL || slab->end == slab->slots)
        return 0;
    *k = s->slab_count - 1;
    *first = slab->end;
    size_t got = slab->slots - slab->end;
    if (got > want)
        got = want;
    slab->end += got;
    return got;
}

/* One more slab, of `slots` or, down to `smallest`, as many as there is room
 * for. */
static int add_slab(struct hl_store *s, size_t slots, size_t smallest)
{
    int err = -ENOMEM;

    if (s->slab_count == SLABS)
        return -ENOMEM;
    for (; err < 0 && slots >= smallest; slots /= 2)
        err = HL_INJECT(HL_INJECT_SLAB)
                  ? -ENOMEM
                  : hl_slab_map(&s->slabs[s->slab_count], slots, s->page_size);
    if (err == 0)
        s->slab_count++;
    return err;
}

/* The next free run at or after the cursor, wrapping around, or false if it
 * does not begin within *look slots; subtracts from *look the slots it passed.
 * A run is measured only up to `want`, so a request for one page examines one
 * page, however many free ones follow. */
static bool next_free(struct hl_store *s, size_t want, size_t *look, size_t *k,
                      struct hl_run *run)
{
    while (*look > 0) {
        struct hl_slab *slab = &s->slabs[s->cursor_slab];
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
    struct hl_slab *slab = &s->slabs[k];

    for (size_t i = run.first; i < run.first + run.count; i++)
        s->warm -= hl_bitmap_test(slab->warm, i);
    hl_bitmap_clear_range(slab->warm, run.first, run.count);
    hl_bitmap_clear_range(slab->free, run.first, run.count);
    s->free -= run.count;
    /* Go on behind what was taken, not behind the whole run. */
    s->cursor_slab = k;
    s->cursor = run.first + run.count;
}

/* A freed run that is worth taking, or, where there is nothing else, any; 0 if
 * there is none. */
static size_t alloc_reused(struct hl_store *s, size_t want, bool any,
                           size_t *k, size_t *first)
{
    struct hl_run run, best = {0, 0};
    size_t enough = want < LONG_RUN ? want : LONG_RUN, at;
    bool few = !any && s->free < s->live / 4;
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
    /* Short runs are left unused while they are few. */
    if (best.count == 0 || (best.count < enough && few))
        return 0;
    *first = best.first;
    claim(s, *k, best);
    return best.count;
}

/* Find room in any way, the cheapest first: short slabs come after short runs,
 * since there are few numbers for slabs. */
static size_t alloc_slots(struct hl_store *s, size_t want, size_t *k,
                          size_t *first)
{
    size_t nominal = FIRST_SLAB << s->slab_count;
    size_t got = alloc_reused(s, want, false, k, first);

    if (got == 0)
        got = alloc_fresh(s, want, k, first);
    if (got == 0 && add_slab(s, nominal, nominal) == 0)
        got = alloc_fresh(s, want, k, first);
    if (got == 0)
        got = alloc_reused(s, want, true, k, first);
    if (got == 0 && add_slab(s, nominal / 2, SMALLEST_SLAB) == 0)
        got = alloc_fresh(s, want, k, first);
    return got;
}

ssize_t hl_store_alloc(struct hl_store *s, size_t want, uint32_t *first)
{
    size_t k = 0, at = 0;

    if (HL_INJECT(HL_INJECT_STORE_ALLOC))
        return -ENOMEM;
    hl_store_lock(s);
    size_t got = alloc_slots(s, want, &k, &at);
    for (size_t i = 0; i < got; i++)
        s->slabs[k].refs[at + i] = 1;
    if (got > 0) {
        hl_slab_want_huge(&s->slabs[k], at, got);
        s->slabs[k].live += got;
        s->live += got;
        *first = slab_start(k) + (uint32_t)at;
    }
    hl_store_unlock(s);
    return got > 0 ? (ssize_t)got : -ENOMEM;
}

/* The newest slabs go whole once they are empty. */
static void drop_empty_slabs(struct hl_store *s)
{
    while (s->slab_count > 1) {
        struct hl_slab *slab = &s->slabs[s->slab_count - 1];
        if (slab->live != 0)
            break;
        s->warm -= hl_bitmap_count(slab->warm, slab->end);
        s->free -= slab->end;
        hl_slab_unmap(slab);
        s->slab_count--;
        s->cursor_slab = s->cursor = 0;
    }
}

static size_t reserve_of(size_t live)
{
    return live / 4 < SMALLEST_RESERVE ? SMALLEST_RESERVE : live / 4;
}

/* Bound the free resident pages: when they exceed the reserve, reduce them to
 * half of it, so that freeing the next few pages costs nothing. */
static void trim(struct hl_store *s)
{
    size_t reserve = reserve_of(s->live);

    s->aim = true; /* a series of releases ends here */
    if (s->warm <= reserve)
        return;
    drop_empty_slabs(s);
    for (size_t k = s->slab_count; k-- > 0 && s->warm > reserve / 2;)
        s->warm -= hl_slab_cool(&s->slabs[k]);
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
    struct hl_slab *slab = &s->slabs[k];
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

bool hl_store_try_lock(struct hl_store *s) { return hl_lock_try(&s->lock); }

bool hl_store_unref_quick_locked(struct hl_store *s, size_t pages)
{
    const struct hl_nodes *nodes = &s->nodes;

    if (pages > s->live)
        pages = s->live;
    if (s->refs == 1 || s->warm + pages > reserve_of(s->live - pages) ||
        (nodes->live <= pages && nodes->chunk_count > FEW_CHUNKS))
        return false;
    s->refs--;
    return true;
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
