#include "snapshot/apply.h"

#include <stdlib.h>
#include <string.h>

#include "mem/copy.h"
#include "os/others.h"

/* Slots are looked up this many at a time: 256 bytes of stack, and one walk
 * down the tree for every 16 pages. */
#define BATCH 64

/* Slots of up to BATCH pages of the run from its i-th on; returns how many. */
static size_t look_up(const struct hl_snapshot *s, struct hl_run run, size_t i,
                      uint32_t slots[BATCH])
{
    size_t n = run.count - i < BATCH ? run.count - i : BATCH;

    if (s == NULL)
        memset(slots, 0, n * sizeof *slots);
    else
        hl_snapshot_slots(s, run.first + i, n, slots);
    return n;
}

/* A copy in the making: grows while source and destination go on together.
 * The store gives runs of pages consecutive slots, so that most restores are a
 * few long copies.  Pages of two slabs that adjoin by chance are as good. */
struct copy {
    char *dst;
    const char *src;
    size_t size;
    void (*by)(void *dst, const void *src, size_t size);
};

static void flush(struct copy *copy)
{
    if (copy->size)
        copy->by(copy->dst, copy->src, copy->size);
    copy->size = 0;
}

static void add(struct copy *copy, char *dst, const char *src, size_t size)
{
    if (copy->size && copy->dst + copy->size == dst &&
        copy->src + copy->size == src) {
        copy->size += size;
        return;
    }
    if (copy->by == hl_copy_past)
        hl_copy_ahead(src);
    flush(copy);
    *copy = (struct copy){dst, src, size, copy->by};
}

/* How many of slots[0..n), the first of which is at `page`, follow each other
 * in memory: all that are consecutive, unless they are of two slabs. */
static size_t in_a_row(const struct hl_store *store, const uint32_t *slots,
                       size_t n, const char *page)
{
    size_t row = 1;

    while (row < n && slots[row] == slots[0] + row)
        row++;
    const char *last = hl_store_page(store, slots[row - 1]);
    return last == page + (row - 1) * hl_store_page_size(store) ? row : 1;
}

void hl_apply(const struct hl_snapshot *s, void *memory, struct hl_run run,
              bool past, struct hl_applied *done)
{
    const struct hl_store *store = hl_snapshot_store(s);
    size_t size = hl_store_page_size(store);
    char *at = (char *)memory + run.first * size;
    const char *pages = hl_snapshot_row(s);
    uint32_t slots[BATCH];
    struct copy copy = {.by = past ? hl_copy_past : hl_copy};

    if (pages) { /* the cache misses of looking up: 1/30 of copying 1 MiB */
        add(&copy, at, pages + run.first * size, run.count * size);
        flush(&copy);
        done->copied += run.count;
        return;
    }
    for (size_t i = 0, n; i < run.count; i += n) {
        n = look_up(s, run, i, slots);
        for (size_t j = 0, row; j < n; j += row, at += row * size) {
            const char *page = hl_store_page(store, slots[j]);
            row = 1;
            if (page) {
                row = in_a_row(store, &slots[j], n - j, page);
                add(&copy, at, page, row * size);
                done->copied += row;
            } else { /* before `copy` is flushed: other pages, any order */
                if (!hl_is_zero(at, size))
                    hl_zero(at, size);
                done->zeroed++;
            }
        }
    }
    flush(&copy);
}

/* page: where a slot's bytes are, NULL for the zero page. */
static bool page_equals(const char *memory, const char *page, size_t size)
{
    return page ? hl_equal(memory, page, size) : hl_is_zero(memory, size);
}

size_t hl_compare(const struct hl_snapshot *s, const void *memory,
                  struct hl_run run, struct hl_pages *differs)
{
    const struct hl_store *store = hl_snapshot_store(s);
    size_t size = hl_store_page_size(store), found = 0;
    const char *at = (const char *)memory + run.first * size;
    const char *pages = hl_snapshot_row(s), *page;
    uint32_t slots[BATCH];

    for (size_t i = 0, n; i < run.count; i += n) {
        n = pages ? run.count : look_up(s, run, i, slots);
        for (size_t j = 0; j < n; j++, at += size) {
            page = pages ? pages + (run.first + j) * size
                         : hl_store_page(store, slots[j]);
            if (page_equals(at, page, size))
                continue;
            found++;
            if (differs)
                hl_pages_add(differs, run.first + i + j);
        }
    }
    return found;
}

void hl_find_filled(const struct hl_snapshot *s, struct hl_run run,
                    struct hl_pages *filled)
{
    uint32_t slots[BATCH];

    for (size_t i = 0, n; i < run.count; i += n) {
        n = look_up(s, run, i, slots);
        for (size_t j = 0; j < n; j++)
            if (slots[j] != HL_SLOT_ZERO)
                hl_pages_add(filled, run.first + i + j);
    }
}

/* Room for `more` edits.  Doubles, since a take of scattered pages appends
 * them one by one. */
static int reserve(struct hl_capture *capture, size_t more)
{
    if (capture->cap - capture->count >= more)
        return 0;
    size_t cap = capture->cap * 2;
    if (cap < capture->count + more)
        cap = capture->count + more;
    struct hl_edit *edits = realloc(capture->edits, cap * sizeof *edits);
    if (edits == NULL) { /* no room for some more than is needed */
        cap = capture->count + more;
        edits = realloc(capture->edits, cap * sizeof *edits);
    }
    if (edits == NULL)
        return -ENOMEM;
    capture->edits = edits;
    capture->cap = cap;
    return 0;
}

static int append(struct hl_capture *capture, size_t page, uint32_t slot)
{
    int err = reserve(capture, 1);
    if (err == 0)
        capture->edits[capture->count++] =
            (struct hl_edit){(uint32_t)page, slot};
    return err;
}

/* Store pages [run.first, +run.count), all of which have changed.
 *
 * The edits have room before a slot is allocated: so nothing can fail between
 * the two, and every slot is in the capture, whose discarding gives it back.
 * The store may have fewer slots in a row than the run has pages.  No lock is
 * held while bytes are copied: the slots are nobody else's yet. */
static int keep(struct hl_capture *capture, struct hl_store *store,
                const char *memory, struct hl_run run)
{
    size_t size = hl_store_page_size(store);
    int err = reserve(capture, run.count);
    if (err < 0)
        return err;

    hl_spend(run.count * HL_COST_STORE);
    while (run.count > 0) {
        uint32_t slot;
        ssize_t got = hl_store_alloc(store, run.count, &slot);
        if (got < 0)
            return (int)got;
        hl_copy(hl_store_page(store, slot), memory + run.first * size,
                (size_t)got * size);
        for (ssize_t i = 0; i < got; i++)
            capture->edits[capture->count++] =
                (struct hl_edit){(uint32_t)run.first++, slot + (uint32_t)i};
        run.count -= (size_t)got;
    }
    return 0;
}

/* Compares before it stores, since a tracker reports more than what changed:
 * hot pages, pages written with the bytes they had, every page after a guess.
 * An unchanged page keeps the slot that it has in the base.
 *
 * `changed` collects neighbours, which get consecutive slots; a page that is
 * unchanged, or has become zero and so needs no slot, ends it.  A page that is
 * zero in the base and differs is not zero, and is not read again for that.
 *
 * Another thread may write between comparing and storing.  Then a slot may
 * hold what the base has, or zeros: it costs a page, and is right all the
 * same. */
int hl_capture_run(struct hl_capture *capture, struct hl_store *store,
                   const struct hl_snapshot *base, const void *memory,
                   struct hl_run run)
{
    size_t size = hl_store_page_size(store);
    const char *at = (const char *)memory + run.first * size;
    struct hl_run changed = {run.first, 0};
    uint32_t slots[BATCH];
    int err = 0;

    for (size_t i = 0, n; i < run.count && err == 0; i += n) {
        n = look_up(base, run, i, slots);
        for (size_t j = 0; j < n && err == 0; j++, at += size) {
            size_t page = run.first + i + j;
            const char *old = hl_store_page(store, slots[j]);
            bool unchanged = page_equals(at, old, size);
            if (!unchanged && !(old && hl_is_zero(at, size))) {
                changed.count++;
                continue;
            }
            err = keep(capture, store, memory, changed);
            if (err == 0 && !unchanged)
                err = append(capture, page, HL_SLOT_ZERO);
            changed = (struct hl_run){page + 1, 0};
        }
    }
    return err < 0 ? err : keep(capture, store, memory, changed);
}

void hl_capture_free(struct hl_capture *capture)
{
    free(capture->edits);
    *capture = (struct hl_capture){0};
}

/* Slot by slot: only for a take that failed. */
void hl_capture_discard(struct hl_capture *capture, struct hl_store *store)
{
    for (size_t i = 0; i < capture->count; i++)
        if (capture->edits[i].slot != HL_SLOT_ZERO)
            hl_store_release(store, capture->edits[i].slot, 1);
    hl_capture_free(capture);
}
