/* The choice of a tracker: the one place that decides it.
 *
 * It does not refer to trackers or drivers by name: their differences are in
 * their tables (struct hl_tracker_ops, struct hl_driver_ops).
 *
 *  - Candidates for this process's writes are its own trackers, in order.
 *  - Candidates for a guest's writes are its driver's own trackers, in order;
 *    then those of this process: all of them if the guest's writes are writes
 *    of this process (host_sees_writes), or else only those that arm nothing
 *    and report every page as written.
 *  - A large guest whose writes are writes of this process is tracked by a
 *    handler that is notified of each first write, rather than by scanning:
 *    such a guest writes by instructions, never by system calls. */
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
    HL_TOLD,         /* scanning would cost more than a notification */
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

/* Start tracking with a candidate.  Returns 0; -errno, with a sentence, if no
 * candidate can work; or HL_REFUSED if another one may. */
#define HL_REFUSED 1
typedef int hl_try(void *context, struct hl_candidate candidate, char *why);

/* What a try returns for -errno of an open: HL_REFUSED, unless memory or
 * descriptors ran out, or no tracker can track this memory. */
int hl_refusal(int err);

/* Try the candidates until one starts.  -ENOENT: no candidate has that name;
 * -EOPNOTSUPP: all refused; in both cases `chosen` is empty.  Otherwise the
 * result of the last try, which is that of `chosen`. */
int hl_choose(const struct hl_wish *wish, hl_try *try, void *context,
              struct hl_choice *choice, char *why) HL_MUST_CHECK;

#endif
