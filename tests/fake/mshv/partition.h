/* Inside of the fake: partitions and their vps. */
#ifndef HL_TESTS_FAKE_PARTITION_H
#define HL_TESTS_FAKE_PARTITION_H

#include <pthread.h>
#include <stdatomic.h>

#include "fake/mshv/engine.h"
#include "fake/mshv/pin.h"

/* Of a page.  FAKE_CLEARED: it was cleared, and neither set nor written since;
 * tracking cannot be switched off as long as there is one. */
enum { FAKE_ACCESSED = 1, FAKE_DIRTY = 2, FAKE_CLEARED = 128 };

struct fake_region {
    struct fake_slot slot; /* size 0: there is none */
    bool executable;
    struct fake_pin pin;
    uint8_t *pages;
};

struct fake_vp {
    pthread_mutex_t lock; /* held by each call on it; before the partition's */
    struct fake_partition *partition;
    struct fake_cpu *cpu; /* NULL: there is no vp */
    uint32_t index;
    unsigned long runs;
};

struct fake_partition {
    pthread_mutex_t lock; /* of what follows, but `refs`, `ran` and `vp` */
    int refs;             /* files: files.c */
    bool lost;            /* a descriptor was closed by somebody else */
    bool older, initialized, tracking;
    atomic_bool ran; /* the guest, since accesses were last asked for */
    _Atomic uint64_t
        suspended; /* hypercalls that failed once, by their code: bits */
    struct fake_machine *machine;
    struct fake_region regions[FAKE_SLOTS];
    struct fake_vp vp;
};

/* partition.c */
int fake_partition_create(bool older,
                          struct fake_partition **out) HL_MUST_CHECK;
void fake_partition_destroy(struct fake_partition *p);
int fake_vp_create(struct fake_partition *p, uint32_t index) HL_MUST_CHECK;
int fake_region_map(struct fake_partition *p, const struct fake_slot *slot,
                    bool executable) HL_MUST_CHECK;
int fake_region_unmap(struct fake_partition *p,
                      const struct fake_slot *slot) HL_MUST_CHECK;
/* The one with guest memory at `addr`, or NULL. */
struct fake_region *fake_region_at(struct fake_partition *p, uint64_t addr);
/* Are pages where they were when they were mapped?  -EFAULT: not all. */
int fake_partition_check(struct fake_partition *p, bool frames) HL_MUST_CHECK;

/* dirty.c.  -EINVAL: the value; -EIO: not now. */
int fake_track(struct fake_partition *p, uint64_t value) HL_MUST_CHECK;
struct fake_query {
    uint64_t page, count;
    uint8_t clear, set; /* FAKE_ACCESSED and FAKE_DIRTY */
    uint8_t *states;    /* a byte a page */
    uint64_t done;      /* pages that were answered */
};
/* -errno: some may be cleared, of which nothing is told. */
int fake_query(struct fake_partition *p, struct fake_query *q) HL_MUST_CHECK;

/* hvcall.c: what the kernel does with MSHV_ROOT_HVCALL.  vp: the call was made
 * on its descriptor, and its lock is held; NULL: the partition's is. */
int fake_hvcall(struct fake_partition *p, const struct fake_vp *vp,
                uint64_t argument) HL_MUST_CHECK;
/* A property of a partition, by hypercall or otherwise. */
int fake_set_property(struct fake_partition *p, uint32_t code,
                      uint64_t value) HL_MUST_CHECK;

/* state.c.  On a vp whose lock is held. */
int fake_vp_move_xsave(struct fake_vp *vp, uint64_t argument,
                       bool set) HL_MUST_CHECK;
/* run.c */
int fake_vp_run(struct fake_vp *vp, uint64_t argument) HL_MUST_CHECK;

#endif
