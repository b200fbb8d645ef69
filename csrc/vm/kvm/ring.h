/* The dirty ring, as its files see it: entries.c keeps its entries, spare.c
 * adds some, ring.c is the tracker.
 *
 *  R1. `open` holds every page that a guest can write to without an entry, and
 *      pages that are reported although they are protected.
 *      `writable` holds those of the former that are in logged slots, and
 *      maybe protected ones; or `short_of` is set: it is not known which they
 *      are, and slots have to be protected as a whole the next time.
 *  R2. Entries [oldest, next) are kept, harvested, and of no page in
 *      particular.
 *  R3. Entries that are not kept are clear, and the next one that the kernel
 *      fills is `next`; or `lost` is set: then that is any one, none is kept,
 *      and all are clear.
 *  R4. The next entry that the kernel takes back is `taken`.  That is
 *      `oldest`, unless the kernel failed to take what was given back: then it
 *      is asked again the next time.
 *  R5. Where pages are protected by entries, a last entry follows that names
 *      no page.  If the kernel took that one too, in the same call, it
 *      protected every page before it.
 *
 * Threads: as for the tracker, one call at a time; no guest runs meanwhile. */
#ifndef HL_VM_KVM_RING_H
#define HL_VM_KVM_RING_H

#include "vm/kvm/machine.h"

/* A slot that is never there: KVM passes over entries of slots that are gone.
 */
#define HL_KVM_NO_SLOT (HL_VM_SLOTS + 1)

struct hl_kvm_ring {
    struct hl_tracker tracker; /* first: they are cast to each other */
    struct hl_kvm *kvm;
    struct kvm_dirty_gfn *entries;
    size_t size;           /* a power of two */
    uint32_t oldest, next; /* R2; modulo size */
    uint32_t taken;        /* R4 */
    bool short_of;
    bool lost;                      /* R3 */
    bool guess;                     /* `open` holds more than was written */
    struct hl_pages open, writable; /* R1 */
    bool no_spare;                  /* KVM adds no entries */
};

static inline struct kvm_dirty_gfn *
hl_kvm_ring_entry(const struct hl_kvm_ring *r, uint32_t at)
{
    return &r->entries[at & (r->size - 1)];
}

static inline bool hl_kvm_ring_is_new(const struct hl_kvm_ring *r, uint32_t at)
{
    return __atomic_load_n(&hl_kvm_ring_entry(r, at)->flags,
                           __ATOMIC_ACQUIRE) &
           KVM_DIRTY_GFN_F_DIRTY;
}

static inline size_t hl_kvm_ring_kept(const struct hl_kvm_ring *r)
{
    return r->next - r->oldest;
}

/* entries.c.  Keep the entries that are new, their pages in `open` and
 * `writable`; after a flood all pages are in `open`, and `short_of` and
 * `guess` set.  -errno: they are as well. */
int hl_kvm_ring_harvest(struct hl_kvm_ring *r) HL_MUST_CHECK;

/* Make the oldest entry, which is kept, protect this page, or nothing if the
 * slot is HL_KVM_NO_SLOT, once the kernel takes it. */
void hl_kvm_ring_give_back(struct hl_kvm_ring *r, uint32_t slot,
                           uint64_t offset);
/* Have the kernel take all entries that were given back.  -EINTR: it did, and
 * some of them have protected nothing.  Otherwise -errno: what it did not take
 * may protect its page later. */
int hl_kvm_ring_reset(struct hl_kvm_ring *r) HL_MUST_CHECK;
/* Give back all that are kept, and protect nothing. */
int hl_kvm_ring_give_all_back(struct hl_kvm_ring *r) HL_MUST_CHECK;

/* spare.c.  Have KVM add up to HL_KVM_SPARE entries, and keep them; fewer, or
 * none, where it does not work or there is no room. */
void hl_kvm_ring_make_spare(struct hl_kvm_ring *r);

#endif
