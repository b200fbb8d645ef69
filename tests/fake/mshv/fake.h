/* A fake of /dev/mshv for tests: a struct hl_mshv_calls behind which there is
 * no Hyper-V, but guests run all the same, on KVM.
 *
 * It is honest: it checks what the kernel checks, fails as the kernel fails,
 * keeps dirty pages as Hyper-V keeps them, and holds guest memory pinned. What
 * it does beyond that, it does when a switch says so.  What it cannot show is
 * how Hyper-V itself behaves where no source says it.
 *
 * Threads: calls on any thread.  Switches and plans are for all threads, and
 * are changed while no call is under way.  Fork: a child can close what its
 * parent had, and make partitions of its own. */
#ifndef HL_TESTS_FAKE_MSHV_H
#define HL_TESTS_FAKE_MSHV_H

#include "vm/mshv/calls.h"

#define FAKE_PUBLIC __attribute__((visibility("default")))

/* Kinds of calls, the same for both interfaces. */
enum fake_kind {
    FAKE_OPEN,
    FAKE_CREATE_PARTITION,
    FAKE_INITIALIZE,
    FAKE_CREATE_VP,
    FAKE_MAP,
    FAKE_UNMAP,
    FAKE_PROPERTY,
    FAKE_QUERY,
    FAKE_GET_REGISTERS,
    FAKE_SET_REGISTERS,
    FAKE_GET_STATE,
    FAKE_SET_STATE,
    FAKE_RUN,
    FAKE_CLOSE,
    FAKE_OTHER, /* whatever ends in ENOTTY, and unknown hypercalls */
    FAKE_KINDS
};
#define FAKE_ANY FAKE_KINDS

enum fake_switch {
    FAKE_OLDER,           /* only the older interface; 0: only the current */
    FAKE_PADDED,          /* the older query takes 32 bytes, not 28 */
    FAKE_FIRST_ALL_DIRTY, /* the first answer, once tracking is on */
    FAKE_STRAY_BITS,      /* set behind the end, in the last byte */
    FAKE_PEEK,            /* NOOP is a peek; 0: it sets, as in the kernel */
    FAKE_EINTR_ONCE,      /* each call fails once, then does what it should;
                             bit i: those of kind i */
    FAKE_EAGAIN_ONCE,     /* each hypercall does, for want of memory */
    FAKE_FEWER_PAGES,     /* the older query answers so many at most; 0: all */
    FAKE_SPURIOUS_EVERY,  /* each n-th RUN_VP ends with EINTR at once */
    FAKE_FRAMES_EVERY,    /* each n-th RUN_VP looks whether the frames of all
                             pages are those that were mapped; 0: never */
    FAKE_SWITCHES
};

enum fake_counter {
    FAKE_CALLS, /* of kind i: FAKE_CALLS + i */
    FAKE_HYPERCALLS = FAKE_CALLS + FAKE_KINDS,
    FAKE_PAGES_ASKED,
    FAKE_PAGES_TOLD, /* asked for and told that they are dirty */
    FAKE_FAILED,     /* calls that failed because a plan or switch said so */
    FAKE_VIOLATIONS, /* the guest's memory was not what had been mapped, or
                        guest code ran where it may not */
    FAKE_MESSAGES,   /* that a guest left by */
    FAKE_PARTITIONS, /* that there are now; so are the next ones */
    FAKE_VPS,
    FAKE_MAPPINGS,
    FAKE_DESCRIPTORS,
    FAKE_COUNTERS
};

/* What the core is given. */
extern FAKE_PUBLIC const struct hl_mshv_calls fake_mshv_calls;

/* Out of range: nothing happens, or 0. */
FAKE_PUBLIC void fake_mshv_switch(int which, long value);
FAKE_PUBLIC long fake_mshv_switched(int which);
FAKE_PUBLIC long fake_mshv_count(int which);
/* All switches off but FAKE_FRAMES_EVERY, which is 1, no plan, and all
 * counters 0 but for what there is now. */
FAKE_PUBLIC void fake_mshv_reset(void);
/* Notice what was closed otherwise than by `close` of the table, which is
 * noticed only when the number is used again, or /dev/mshv is opened. */
FAKE_PUBLIC void fake_mshv_sweep(void);

/* The n-th call of a kind (or of FAKE_ANY) from now on, 1 being the next,
 * fails with `error`, before it has done anything; or after it has done all,
 * but told nothing: a descriptor that it made is closed again, bits that it
 * cleared stay so.  One plan at a time; 0 calls: none. */
FAKE_PUBLIC void fake_mshv_fail(int kind, long nth, int error, bool after);
/* How many calls a plan still waits for; 0: it was carried out, or is none. */
FAKE_PUBLIC long fake_mshv_fail_left(void);

#endif
