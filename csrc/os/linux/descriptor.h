/* Descriptors that the whole process shares: one of each kind, however many
 * regions are tracked.
 *
 * A slot is opened on first use and stays open.  Changes made to the number by
 * other code are found by asking what file it is now, which costs 0.4 us:
 *
 *  - it was closed (os.closerange, a daemon that starts): the next use opens
 *    another, and users of the old one learn from hl_descriptor_is_good that
 *    it is gone;
 *  - it was closed and is another file now: the same, and that file is left
 *    alone;
 *  - a fork: the child's hook closes the inherited copy, which belongs to the
 *    parent's memory, and the child opens its own.
 *
 * Any thread. */
#ifndef HL_OS_LINUX_DESCRIPTOR_H
#define HL_OS_LINUX_DESCRIPTOR_H

#include "base.h"

enum hl_descriptor {
    HL_DESCRIPTOR_MAPS,        /* /proc/self/maps */
    HL_DESCRIPTOR_PAGEMAP,     /* /proc/self/pagemap */
    HL_DESCRIPTOR_UFFD_ASYNC,  /* userfaultfd, asynchronous protection */
    HL_DESCRIPTOR_UFFD_SIGBUS, /* userfaultfd, protection by SIGBUS */
    HL_DESCRIPTORS
};

struct hl_descriptor_handle {
    int fd;
    unsigned serial; /* of the file, not of the number */
};

/* How a slot is filled: returns a new descriptor, or -errno. */
typedef int hl_descriptor_opener(void *context);

/* The slot's descriptor, opened now if it is not open.  It belongs to the
 * process and must not be closed.  On error, the opener's. */
int hl_descriptor_get(enum hl_descriptor which, hl_descriptor_opener *opener,
                      void *context,
                      struct hl_descriptor_handle *handle) HL_MUST_CHECK;

/* The same for a file of /proc: its descriptor, or -errno. */
int hl_descriptor_of_proc(enum hl_descriptor which) HL_MUST_CHECK;

/* Is the number still the file that it was when the slot gave it out? */
bool hl_descriptor_is_good(enum hl_descriptor which,
                           const struct hl_descriptor_handle *handle);

#endif
