/* The page store: refcounted pages that snapshots share.
 *
 * Workload: a take stores a few to a few hundred thousand pages, mostly in
 * runs; a restore reads them in the same order; dropping a snapshot frees the
 * pages nobody else shares.  Pages are kept in slabs of doubling size, and a
 * run of pages is given consecutive slots where there is room, so that a
 * restore copies runs and not single pages.
 *
 * A slot is a number; slot 0 is the all-zero page, which takes no memory and
 * is never counted.  A slot's bytes are written once, by whoever allocated it,
 * before it is shared; after that they never change.
 *
 * Threads: every function may be called from any thread; one mutex guards the
 * allocator and the counts and is never held while pages are copied.
 * hl_store_page takes no lock: a slot that somebody holds does not move.
 *
 * Memory is returned to the system when slots are freed, except for a small
 * reserve that avoids page faults in a take/drop loop. */
#ifndef HL_SNAPSHOT_STORE_H
#define HL_SNAPSHOT_STORE_H

#include "base.h"

#define HL_SLOT_ZERO UINT32_C(0)

struct hl_store;

/* A new store with one reference, for pages of page_size bytes. */
int hl_store_new(struct hl_store **out, size_t page_size) HL_MUST_CHECK;
struct hl_store *hl_store_ref(struct hl_store *store);
/* The last reference frees everything; no snapshot may be left in it. */
void hl_store_unref(struct hl_store *store);

size_t hl_store_page_size(const struct hl_store *store);

/* Allocate 1 to `want` consecutive slots, each with one reference, and return
 * how many; *first is the first of them.  -ENOMEM: nothing was allocated. */
ssize_t hl_store_alloc(struct hl_store *store, size_t want,
                       uint32_t *first) HL_MUST_CHECK;

/* Give back one reference on each of `count` consecutive slots. */
void hl_store_release(struct hl_store *store, uint32_t first, size_t count);

/* Where a slot's bytes are, or NULL for HL_SLOT_ZERO. */
void *hl_store_page(const struct hl_store *store, uint32_t slot);

/* Bytes in live pages and index nodes; bytes of memory held for them. */
struct hl_store_usage {
    size_t pages;    /* live pages, each counted once */
    size_t nodes;    /* live index nodes */
    size_t bytes;    /* what these take */
    size_t reserved; /* resident but free: kept for the next take */
};
void hl_store_usage(struct hl_store *store, struct hl_store_usage *usage);

#endif
