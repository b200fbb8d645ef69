/* Inside of the fake: descriptors, and what they stand for. */
#ifndef HL_TESTS_FAKE_FILES_H
#define HL_TESTS_FAKE_FILES_H

#include "fake/mshv/partition.h"

enum fake_file_kind { FAKE_DEVICE, FAKE_PARTITION, FAKE_VP };

struct fake_file {
    enum fake_file_kind kind;
    int fd;
    int users; /* the descriptor, and calls under way */
    _Atomic uint64_t once;
    struct fake_partition *partition; /* NULL: FAKE_DEVICE */
};

/* A descriptor for it; the partition lives at least as long. */
int fake_file_create(enum fake_file_kind kind, struct fake_partition *p,
                     int flags) HL_MUST_CHECK;
/* What the descriptor stands for, to be released; NULL: nothing of the fake's.
 */
struct fake_file *fake_file_take(int fd);
void fake_file_release(struct fake_file *file);
/* false: it is none of the fake's. */
bool fake_file_close(int fd);

#endif
