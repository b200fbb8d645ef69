/* Inside of the fake: switches, counters, planned failures, and how a call
 * reads and writes its caller's memory. */
#ifndef HL_TESTS_FAKE_SWITCHES_H
#define HL_TESTS_FAKE_SWITCHES_H

#include "fake/mshv/fake.h"

void fake_count(int which, long by);

/* A call of that kind begins.  `once`: of the descriptor, which calls were
 * made to fail once already; NULL: there is none yet.  -errno: it fails before
 * it has done anything. */
int fake_begin(enum fake_kind kind, _Atomic uint64_t *once) HL_MUST_CHECK;
/* It ends with rc.  -errno: it is to fail all the same. */
int fake_end(int rc) HL_MUST_CHECK;

/* Between them.  -EFAULT; what a call that is to fail writes goes nowhere. */
int fake_copy_in(void *to, uint64_t from, size_t size) HL_MUST_CHECK;
int fake_copy_out(uint64_t to, const void *from, size_t size) HL_MUST_CHECK;

bool fake_is_zero(const void *bytes, size_t size);

#endif
