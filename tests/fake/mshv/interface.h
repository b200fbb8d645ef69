/* Inside of the fake: the two interfaces.  files.c finds the object that a
 * descriptor stands for, and holds the lock that the kernel would hold. */
#ifndef HL_TESTS_FAKE_INTERFACE_H
#define HL_TESTS_FAKE_INTERFACE_H

#include "fake/mshv/partition.h"
#include "fake/mshv/switches.h"

/* What a call is for, by its number and its argument. */
enum fake_kind fake_current_kind(bool vp, unsigned long request,
                                 uint64_t argument);
enum fake_kind fake_older_kind(bool vp, unsigned long request);

/* All but those that make descriptors: 0, or -errno; -ENOTTY. */
int fake_current_call(struct fake_partition *p, unsigned long request,
                      uint64_t argument) HL_MUST_CHECK;
int fake_current_vp_call(struct fake_vp *vp, unsigned long request,
                         uint64_t argument) HL_MUST_CHECK;
int fake_older_call(struct fake_partition *p, unsigned long request,
                    uint64_t argument) HL_MUST_CHECK;
int fake_older_vp_call(struct fake_vp *vp, unsigned long request,
                       uint64_t argument) HL_MUST_CHECK;

/* What is asked for when a partition is made: -EINVAL: nothing that there is.
 */
int fake_current_check_partition(uint64_t argument) HL_MUST_CHECK;
int fake_older_check_partition(uint64_t argument) HL_MUST_CHECK;

#endif
