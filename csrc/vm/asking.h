/* Trackers of what a guest writes that ask a hypervisor, whose answer is also
 * that it forgets: what they have in common.
 *
 * A query costs by the pages that it asks about, whatever they hold, and there
 * is no mere look.  So what it reported is kept here until it is armed; a take
 * that fails has lost nothing.  Pages that are left unarmed count as dirty,
 * and where all of a piece are, it is not asked about.  What was written there
 * is reported once more after they are armed, which is too much, but not too
 * little.
 *
 *  D1. A page that the guest wrote since it was armed is in `found` or has its
 *      bit set in the hypervisor.
 *  D2. If a query fails, all that it was about counts as found: it may have
 *      forgotten some of it.
 *
 * From switching on to the first query a hypervisor may report all pages: that
 * answer is thrown away, since no page is armed by then (T1).
 *
 * A tracker's own file has a struct that begins with a struct hl_asking, fills
 * in hl_tracker_ops with the functions below, and frees what it allocated. */
#ifndef HL_VM_ASKING_H
#define HL_VM_ASKING_H

#include "base.h"
#include "track/track.h"
#include "vm/driver.h"

#define HL_ASKING_PAGE ((size_t)4096)

/* Pages of one query, at most. */
#define HL_ASKING_PIECE ((size_t)65536)

/* How often one is made again. */
#define HL_ASKING_TRIES 4096

struct hl_asking {
    struct hl_tracker tracker; /* first: they are cast to each other */
    const struct hl_vm_config *config;

    /* Which of these pages the guest wrote, into zeroed bits of whole words,
     * also behind the last page; and forget it.  -errno: any of it may be
     * forgotten; after -EINTR and -EAGAIN it is asked again. */
    int (*ask)(struct hl_asking *a, uint64_t gpa, size_t page_count,
               uint64_t *bits);

    struct hl_pages open;  /* reported whatever the hypervisor says */
    struct hl_pages found; /* reported by it, and not armed since */
    uint64_t bits[HL_ASKING_PIECE / 64]; /* of one piece */
};

/* Of the logged slots of `config`, which are [memory, +page_count); `a` is
 * zeroed.  On error hl_asking_end is still to be called. */
int hl_asking_init(struct hl_asking *a, const struct hl_tracker_ops *ops,
                   const struct hl_vm_config *config, void *memory,
                   size_t page_count) HL_MUST_CHECK;
/* Throw away what was written until now: no page is armed. */
int hl_asking_begin(struct hl_asking *a) HL_MUST_CHECK;
void hl_asking_end(struct hl_asking *a);

/* For hl_tracker_ops. */
int hl_asking_collect(struct hl_tracker *t, struct hl_pages *dirty);
void hl_asking_arm(struct hl_tracker *t, const struct hl_pages *pages);
void hl_asking_leave_unarmed(struct hl_tracker *t,
                             const struct hl_pages *pages);
void hl_asking_disarm(struct hl_tracker *t, struct hl_run run);

#endif
