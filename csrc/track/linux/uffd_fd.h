/* userfaultfd (Documentation/admin-guide/mm/userfaultfd.rst): one descriptor a
 * mode for the whole process, see os/descriptor.h.  Any thread. */
#ifndef HL_TRACK_LINUX_UFFD_FD_H
#define HL_TRACK_LINUX_UFFD_FD_H

#include "base.h"
#include "mem/runs.h"
#include "os/linux/descriptor.h"
#include "os/linux/uapi.h"

/* The first Linux with write protection, and with the asynchronous one, on
 * this machine. */
#if defined(__aarch64__)
#define HL_UFFD_LINUX "6.10"
#define HL_UFFD_ASYNC_LINUX "6.10"
#else
#define HL_UFFD_LINUX "5.7"
#define HL_UFFD_ASYNC_LINUX "6.7"
#endif

struct hl_uffd {
    enum hl_descriptor mode;
    uint64_t features; /* what the process's descriptor is made with */
    struct hl_descriptor_handle handle;
};

/* Fill in mode and features, given what this kernel has.  They are the same
 * for all users of a mode, since the first makes the descriptor.  False: the
 * kernel lacks what the mode needs. */
bool hl_uffd_choose(struct hl_uffd *uffd, enum hl_descriptor mode,
                    uint64_t features);

/* Register [addr, addr + size) for write protection, given mode and features.
 * -errno: a sentence is in `why`, nothing is registered, the handle as before.
 * What was registered and lost can be registered again. */
int hl_uffd_open(struct hl_uffd *uffd, void *addr, size_t size,
                 char *why) HL_MUST_CHECK;

/* Is the descriptor still ours?  The kernel ends protection when the last copy
 * of it is closed, by whomever. */
bool hl_uffd_is_good(const struct hl_uffd *uffd);

/* Is part of this memory, which nobody tracks yet, registered with another
 * userfaultfd?  Then untouched pages may hold anything.  False if that cannot
 * be checked: a process that may not have a userfaultfd is unlikely to have
 * memory registered with one.  Costs the same whatever else is mapped. */
bool hl_uffd_is_foreign(void *addr, size_t size);

/* The features this kernel has, or -errno with a sentence in `why`. */
int hl_uffd_features(uint64_t *features, char *why) HL_MUST_CHECK;

/* Protect or unprotect [addr, addr + size).  With protection by SIGBUS the
 * latter works even if the descriptor is lost; use it only for pages that we
 * protected, since it ends any protection.  Async-signal-safe. */
int hl_uffd_protect(const struct hl_uffd *uffd, const void *addr, size_t size,
                    bool on);

/* Unprotect and unregister, unless `forked` says that the range is the
 * parent's: all of it that is ours, whatever its owner put beside. */
void hl_uffd_close(struct hl_uffd *uffd, const void *addr, size_t size,
                   bool forked);

#endif
