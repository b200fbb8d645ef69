/* Index nodes of the snapshots of one store, and the internals of the store:
 * for the files of this folder only.
 *
 * A node is 16 numbers: slots in a leaf, nodes above; 0 stands for an empty
 * subtree, which is all zero pages.  Nodes live in chunks of doubling size and
 * are named by number, so that one takes 64 bytes and a count.  Where there is
 * no room for a chunk, it has fewer, and the rest of its numbers do not exist.
 *
 * Snapshot b is a with page 0 changed, of 4096 pages (16 MiB), three levels:
 *
 *   a: root 9                   b: root 12                           level
 *
 *   node 9 [4][0][8]...         node 12 [11][0][8]...                  2
 *           |  |  |                      |      |
 *           | zero|                      |      |
 *           |     +------->+<------------|------+
 *           v              v             v
 *   node 4 [2][3]...    node 8     node 11 [10][3]...                  1
 *           |  |                            |   |
 *           |  +---------->+<---------------|---+
 *           v              v                v
 *   node 2 [17][0]...   node 3     node 10 [20][0]...        leaves    0
 *           |  zero     [18][19]            |  zero
 *           v            |   |              v
 *        slot 17         v   v           slot 20
 *        page 0 of a     of both         page 0 of b
 *
 * b cost three nodes and one slot.  Nodes 3 and 8 have two references, all
 * others one.  A reference is counted where the number is written down: slot
 * 18 has one, from node 3, however many snapshots lead to it.  Pages 256 to
 * 511 are zero in both, and take nothing.
 *
 * A node's children are written once, before anybody else knows its number,
 * and read without a lock.  Everything else here is guarded by the store's
 * lock, which the caller holds. */
#ifndef HL_SNAPSHOT_NODES_H
#define HL_SNAPSHOT_NODES_H

#include "base.h"
#include "snapshot/store.h"

#define HL_NODE_BITS 4
#define HL_NODE_WAYS (1 << HL_NODE_BITS)
#define HL_NODE_BYTES (HL_NODE_WAYS * sizeof(uint32_t) + sizeof(uint32_t))
#define HL_NODE_CHUNKS 26

struct hl_node {
    uint32_t child[HL_NODE_WAYS];
};
_Static_assert(sizeof(struct hl_node) == 64, "a node is a cache line");

struct hl_nodes {
    struct hl_node *chunks[HL_NODE_CHUNKS];
    uint32_t *refs[HL_NODE_CHUNKS];
    size_t chunk_count;
    size_t end;  /* numbers from here on were never used */
    size_t room; /* numbers from here on do not exist */
    size_t live;
    uint32_t unused; /* a list through child[0] */
};

/* A new node with one reference, its children unset; 0 if out of memory. */
uint32_t hl_nodes_alloc(struct hl_nodes *nodes);
struct hl_node *hl_nodes_get(const struct hl_nodes *nodes, uint32_t number);
uint32_t *hl_nodes_refs(const struct hl_nodes *nodes, uint32_t number);
/* Give back a node whose count has reached zero. */
void hl_nodes_release(struct hl_nodes *nodes, uint32_t number);
/* Give memory back if no node is in use. */
void hl_nodes_trim(struct hl_nodes *nodes);
void hl_nodes_free(struct hl_nodes *nodes);

/* The store's lock, and what is done with it held. */
void hl_store_lock(struct hl_store *store);
/* False: another thread has it, perhaps for long. */
bool hl_store_try_lock(struct hl_store *store) HL_MUST_CHECK;
void hl_store_unlock(struct hl_store *store);
struct hl_nodes *hl_store_nodes(struct hl_store *store);
void hl_store_hold_locked(struct hl_store *store, uint32_t slot);
void hl_store_release_locked(struct hl_store *store, uint32_t slot);
bool hl_store_is_shared_locked(const struct hl_store *store, uint32_t slot);
/* Drop a reference that is not the last, unless after `pages` more releases
 * trimming would have much to give back. */
bool hl_store_unref_quick_locked(struct hl_store *store, size_t pages);
/* After a series of releases: give back memory that is too much to keep. */
void hl_store_trim_locked(struct hl_store *store);

/* Stores alive in this process. */
size_t hl_store_count(void);

#endif
