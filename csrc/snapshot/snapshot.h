/* Snapshots: the immutable content of a region, page by page.
 *
 * A snapshot is a persistent radix tree, 16 ways a level, from page number to
 * slot.  A new snapshot copies the path to each page that changed and shares
 * every other subtree with its parent: it costs what changed, about 340 bytes
 * of index for a single page in a GiB, and nodes are never rewritten.  An
 * empty subtree stands for zero pages.  Two snapshots of one store are
 * compared by walking only where their subtrees differ.  nodes.h draws two of
 * them.
 *
 * Pure: nothing here knows trackers or managers.
 *
 * Threads: snapshots are immutable and counted atomically; any thread may
 * read, compare and drop them at any time. */
#ifndef HL_SNAPSHOT_SNAPSHOT_H
#define HL_SNAPSHOT_SNAPSHOT_H

#include "base.h"
#include "mem/pages.h"
#include "snapshot/store.h"

struct hl_snapshot;

/* One page that a new snapshot holds differently from its base. */
struct hl_edit {
    uint32_t page;
    uint32_t slot;
};

/* A snapshot of page_count pages: base (NULL: all zero; same store and size
 * otherwise) with `edits` applied, ascending by page.  On success the snapshot
 * has one reference, owns the caller's reference on each edit's slot, and
 * holds the store.  -ENOMEM: nothing changed, the caller still owns them. */
int hl_snapshot_new(struct hl_store *store, size_t page_count,
                    const struct hl_snapshot *base,
                    const struct hl_edit *edits, size_t edit_count,
                    struct hl_snapshot **out) HL_MUST_CHECK;
struct hl_snapshot *hl_snapshot_ref(struct hl_snapshot *snapshot);
/* Other threads run meanwhile where it takes long (os/others.h). */
void hl_snapshot_unref(struct hl_snapshot *snapshot);
/* The same if it takes only a few microseconds and does not wait; false, with
 * nothing done, if it may take longer. */
bool hl_snapshot_unref_quick(struct hl_snapshot *snapshot) HL_MUST_CHECK;

struct hl_store *hl_snapshot_store(const struct hl_snapshot *snapshot);
size_t hl_snapshot_page_count(const struct hl_snapshot *snapshot);

/* The slots of pages [first, first + count) into slots[]. */
void hl_snapshot_slots(const struct hl_snapshot *snapshot, size_t first,
                       size_t count, uint32_t *slots);

/* The first of its pages, if all of them follow each other in memory, none is
 * zero, and so none need be looked up; else NULL.  Lives as long as it. */
const char *hl_snapshot_row(const struct hl_snapshot *snapshot);

/* Add to found every page that a and b may hold differently: where both are
 * of one store, those with different slots (a page with the same bytes in two
 * slots included); otherwise those that are not zero in both.  Sizes must
 * match. */
void hl_snapshot_diff(const struct hl_snapshot *a, const struct hl_snapshot *b,
                      struct hl_pages *found);

/* Remove from found what a and b hold with equal bytes. */
void hl_snapshot_diff_exact(const struct hl_snapshot *a,
                            const struct hl_snapshot *b,
                            struct hl_pages *found);

/* Bytes that would go away with this snapshot alone: pages and index nodes
 * that no other snapshot shares.  Visits only those. */
size_t hl_snapshot_nbytes(const struct hl_snapshot *snapshot);

/* Copy bytes [offset, offset + length) into dst; the caller has checked the
 * range. */
void hl_snapshot_read(const struct hl_snapshot *snapshot, size_t offset,
                      size_t length, void *dst);

/* Snapshots and stores alive in this process, for leak tests. */
void hl_snapshot_counts(size_t *snapshots, size_t *stores);

#endif
