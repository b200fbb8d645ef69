/* A slab: memory for some thousands of stored pages, in slots that never move.
 *
 * The store hands slots out and takes them back, and keeps the three counts
 * below and the sets of free and warm slots; what a slab does itself is ask
 * the system for memory and give it back.  Threads: the store's lock. */
#ifndef HL_SNAPSHOT_SLAB_H
#define HL_SNAPSHOT_SLAB_H

#include "base.h"

struct hl_slab {
    char *mapping;
    size_t mapped; /* bytes of it */
    char *mem;     /* of the first slot; a huge page begins there */
    size_t page_size;
    size_t slots;
    size_t end; /* slots from here on were never used */
    size_t live;
    uint32_t *refs;
    uint64_t *free; /* below `end`, nobody's */
    uint64_t *warm; /* those of them that are resident */
};

/* Make an empty slab.  -ENOMEM: nothing was made. */
int hl_slab_map(struct hl_slab *slab, size_t slots,
                size_t page_size) HL_MUST_CHECK;
/* The memory of a small one of which little was used is kept for the next one
 * of its size: giving it back is a call of the kernel to each virtual machine
 * that the process has. */
void hl_slab_unmap(struct hl_slab *slab);

/* Slots [first, +count) are about to be filled: one fault for each whole huge
 * page inside, in place of 512. */
void hl_slab_want_huge(const struct hl_slab *slab, size_t first, size_t count);

/* Give the warm slots back to the system; returns how many. */
size_t hl_slab_cool(struct hl_slab *slab);

#endif
