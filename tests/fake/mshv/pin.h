/* Inside of the fake: memory that stays where it is while a partition has it,
 * as the kernel's pins make it. */
#ifndef HL_TESTS_FAKE_PIN_H
#define HL_TESTS_FAKE_PIN_H

#include "base.h"

struct fake_pin {
    uint64_t addr, size;
    int ring;         /* which holds the pins; -1: there are none */
    uint64_t *frames; /* where pages were; 0: nobody may know */
};

/* -EINVAL: there is no memory; -EFAULT: not all of it can be written. */
int fake_pin(uint64_t addr, uint64_t size, struct fake_pin *pin) HL_MUST_CHECK;
/* lost: the ring's number may be another file's by now. */
void fake_unpin(struct fake_pin *pin, bool lost);

/* Are all its pages there; and, with `frames`, are they the same?  A guest
 * would go on with the old ones where the host has new ones.  -EFAULT: no. */
int fake_pin_check(const struct fake_pin *pin, bool frames) HL_MUST_CHECK;

#endif
