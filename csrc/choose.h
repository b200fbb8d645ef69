/* Which tracker for whose writes: the one place that decides it.
 *
 * It knows no tracker and no driver by name: what differs between them is in
 * their tables (struct hl_tracker_ops, struct hl_driver_ops).
 *
 *  - What this process writes is found by its own trackers, in their order.
 *  - What a guest writes is found by its driver's own trackers, in their
 *    order; then by those of this process, all of them where the driver says
 *    that it sees such writes (host_sees_writes), or else by those that arm
 *    nothing and take every page for written.
 *  - Much memory of a guest whose writes this process sees is tracked by a
 *    handler that is told of each first write rather than by looking for
 *    them: its guest's writes are instructions, never system calls. */
#ifndef HL_CHOOSE_H
#define HL_CHOOSE_H

#include "base.h"
#include "track/track.h"
#include "vm/driver.h"
#include "why.h"

/* More than there are, for one driver. */
#define HL_CANDIDATES 16

struct hl_wish {
    const struct hl_driver_ops *driver; /* NULL: this process writes */
    const char *name;                   /* of a tracker; NULL: any */
    size_t page_count;
};

struct hl_candidate {
    const struct hl_tracker_ops *ops;
    const struct hl_vm_tracker
        *vm; /* the driver's own; NULL: this process's */
};

enum hl_because {
    HL_ASKED_FOR,    /* by name */
    HL_FIRST_CHOICE, /* and it works */
    HL_NEXT_CHOICE,  /* those before it are in `passed` */
    HL_TOLD,         /* looking would cost more than being told */
};

struct hl_passed {
    const char *name;
    char why[HL_WHY_SIZE];
};

struct hl_choice {
    struct hl_candidate chosen; /* ops is NULL: none */
    enum hl_because because;
    struct hl_passed passed[HL_CANDIDATES]; /* tried before, in vain */
    size_t passed_count;
};

/* The trackers that may do, in the order in which they are to be tried;
 * returns how many. */
size_t hl_candidates(const struct hl_wish *wish,
                     struct hl_candidate into[HL_CANDIDATES]);

/* Start tracking with a candidate.  0; or a sentence and -errno: no candidate
 * will do; or HL_REFUSED: another may. */
#define HL_REFUSED 1
typedef int hl_try(void *context, struct hl_candidate candidate, char *why);

/* What a try returns for -errno of an open: HL_REFUSED, unless memory or
 * descriptors are out, or what is to be tracked cannot be by anybody. */
int hl_refusal(int err);

/* Try the candidates until one starts.  -ENOENT: there is none of that name;
 * -EOPNOTSUPP: all refused; then `chosen` is empty.  Otherwise what the try
 * said that ended it, of `chosen`. */
int hl_choose(const struct hl_wish *wish, hl_try *try, void *context,
              struct hl_choice *choice, char *why) HL_MUST_CHECK;

#endif
