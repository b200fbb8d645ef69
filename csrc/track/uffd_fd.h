/* userfaultfd descriptors (Documentation/admin-guide/mm/userfaultfd.rst). */
#ifndef HL_TRACK_UFFD_FD_H
#define HL_TRACK_UFFD_FD_H

#include "base.h"
#include "mem/runs.h"
#include "mem/uapi.h"

/* A descriptor with `features`, on which [addr, addr + size) is registered for
 * write protection.  Returns it, or -errno with a sentence in `why` and
 * nothing registered. */
int hl_uffd_open(void *addr, size_t size, uint64_t features,
                 char *why) HL_MUST_CHECK;

/* The features this kernel has, or -errno with a sentence in `why`. */
int hl_uffd_features(uint64_t *features, char *why) HL_MUST_CHECK;

/* Protect or unprotect [addr, addr + size).  Async-signal-safe. */
int hl_uffd_protect(int fd, const void *addr, size_t size, bool on);

/* Unregister, unless `forked` says that the range is the parent's, and
 * close. */
void hl_uffd_close(int fd, const void *addr, size_t size, bool forked);

#endif
