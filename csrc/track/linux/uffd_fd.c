#include "track/linux/uffd_fd.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/map.h"
#include "os/vma.h"
#include "track/track.h"

/* USER_MODE_ONLY is what an unprivileged user may have; write protection is
 * resolved without a reader of the descriptor, so it takes nothing from us.
 * Kernels before 5.11 do not know the flag.  Async-signal-safe. */
static int new_fd(void)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* Async-signal-safe. */
static int new_fd_with(uint64_t features)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    int fd = new_fd();

    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) == 0)
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* Puts into words why there was none. */
static int none(char *why, int err)
{
    if (err == -ENOSYS)
        return hl_why(why, -ENOSYS,
                      "userfaultfd: not compiled into this kernel, or hidden "
                      "by a seccomp filter");
    if (err == -EPERM)
        return hl_why(why, -EPERM,
                      "userfaultfd: forbidden here, by a seccomp filter "
                      "(containers) or vm.unprivileged_userfaultfd");
    return hl_why(why, err, "userfaultfd: %s", hl_strerror(-err));
}

/* 5.19; without it only private anonymous memory can be protected. */
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif

/* Without WP_UNPOPULATED, arming a page that was never touched succeeds and
 * does nothing: in asynchronous mode its first write would go unseen. */
static const struct {
    uint64_t needed, wanted;
} modes[] = {
    [HL_DESCRIPTOR_UFFD_ASYNC] = {.needed = UFFD_FEATURE_WP_ASYNC |
                                            UFFD_FEATURE_WP_UNPOPULATED},
    [HL_DESCRIPTOR_UFFD_SIGBUS] = {.needed = UFFD_FEATURE_SIGBUS |
                                             UFFD_FEATURE_PAGEFAULT_FLAG_WP,
                                   .wanted = UFFD_FEATURE_WP_HUGETLBFS_SHMEM |
                                             UFFD_FEATURE_WP_UNPOPULATED},
};

bool hl_uffd_choose(struct hl_uffd *uffd, enum hl_descriptor mode,
                    uint64_t features)
{
    uint64_t needed = modes[mode].needed;

    uffd->mode = mode;
    uffd->features = needed | (features & modes[mode].wanted);
    return (features & needed) == needed;
}

struct wanted {
    uint64_t features;
    char *why;
};

static int open_with(void *context)
{
    const struct wanted *wanted = context;
    int fd = new_fd_with(wanted->features);

    return fd < 0 ? none(wanted->why, fd) : fd;
}

/* Asking takes a descriptor that is good for nothing else, and the answer does
 * not change while a kernel runs. */
int hl_uffd_features(uint64_t *features, char *why)
{
    static _Atomic uint64_t known;
    struct uffdio_api api = {.api = UFFD_API};
    int err = 0;

    *features = atomic_load(&known);
    if (*features != 0)
        return 0;
    int fd = new_fd();
    if (fd < 0)
        return none(why, fd);
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        err = hl_why(why, -errno, "UFFDIO_API: %s", strerror(errno));
    close(fd);
    *features = api.features;
    if (err == 0)
        atomic_store(&known, api.features);
    return err;
}

int hl_uffd_open(struct hl_uffd *uffd, void *addr, size_t size, char *why)
{
    struct wanted wanted = {uffd->features, why};
    struct uffdio_register range = {
        .range = {.start = (uintptr_t)addr, .len = size},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    struct hl_descriptor_handle handle;

    why[0] = '\0';
    int err = hl_descriptor_get(uffd->mode, open_with, &wanted, &handle);
    if (err < 0)
        return why[0] ? err : hl_why(why, err, "fstat: %s", strerror(-err));
    if (ioctl(handle.fd, UFFDIO_REGISTER, &range) == 0) {
        uffd->handle = handle;
        return 0;
    }
    if (errno == EBUSY)
        return hl_why(why, -EBUSY,
                      "UFFDIO_REGISTER: another userfaultfd has this memory");
    if (errno == EINVAL)
        return hl_why(why, -EOPNOTSUPP,
                      "userfaultfd cannot protect this memory here "
                      "(UFFDIO_REGISTER: %s)",
                      strerror(EINVAL));
    return hl_why(why, -errno, "UFFDIO_REGISTER: %s", hl_strerror(errno));
}

bool hl_uffd_is_good(const struct hl_uffd *uffd)
{
    return hl_descriptor_is_good(uffd->mode, &uffd->handle);
}

/* The kernel returns EAGAIN while a mapping changes, but only for descriptors
 * with event features, which ours lacks.  So a few attempts are enough. */
static int protect(int fd, struct uffdio_writeprotect *wp)
{
    for (int tries = 0; tries < 1000; tries++) {
        if (ioctl(fd, UFFDIO_WRITEPROTECT, wp) == 0)
            return 0;
        if (errno != EAGAIN)
            break;
    }
    return -errno;
}

/* Protection outlives the descriptor where somebody has a copy of it (dup, a
 * child made without the fork hooks).  Any userfaultfd of this process can end
 * it: the kernel asks whether a mapping is registered, not with whom.
 * Async-signal-safe. */
static int unprotect_without(const struct hl_uffd *uffd,
                             struct uffdio_writeprotect *wp, int err)
{
    int fd = new_fd_with(uffd->features);

    if (fd < 0)
        return err;
    err = protect(fd, wp);
    close(fd);
    return err;
}

int hl_uffd_protect(const struct hl_uffd *uffd, const void *addr, size_t size,
                    bool on)
{
    struct uffdio_writeprotect wp = {
        .range = {.start = (uintptr_t)addr, .len = size},
        .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    int err = protect(uffd->handle.fd, &wp);

    if (err < 0 && err != -ENOMEM && err != -EAGAIN && !on &&
        uffd->features & UFFD_FEATURE_SIGBUS)
        err = unprotect_without(uffd, &wp, err);
    return err;
}

static int unregister(const struct hl_uffd *uffd, uintptr_t start,
                      uintptr_t end)
{
    struct uffdio_range range = {.start = start, .len = end - start};

    return ioctl(uffd->handle.fd, UFFDIO_UNREGISTER, &range) < 0 ? -errno : 0;
}

/* Unregistering also unprotects, but fails at vm.max_map_count: the range may
 * be part of a mapping that must be split for it.  A range that stays
 * registered in asynchronous mode does no harm; in the other mode, a write to
 * a page that stayed protected would end the process.  If it is refused for
 * another reason, neither the memory nor its protection is ours. */
static void close_mapping(void *context, uintptr_t start, uintptr_t end,
                          int prot, unsigned kind)
{
    const struct hl_uffd *uffd = context;

    (void)prot;
    (void)kind;
    if (unregister(uffd, start, end) == -ENOMEM &&
        uffd->features & UFFD_FEATURE_SIGBUS)
        (void)hl_uffd_protect(uffd, (void *)start, end - start, false);
}

/* What its owner put into the range stops it: so by the mapping then, or by
 * the page where mappings cannot be told. */
void hl_uffd_close(struct hl_uffd *uffd, const void *addr, size_t size,
                   bool forked)
{
    uintptr_t start = (uintptr_t)addr, end = start + size;
    size_t page = hl_page_size();

    if (forked || !hl_uffd_is_good(uffd) ||
        unregister(uffd, start, end) == 0 ||
        hl_vma_each(addr, size, close_mapping, uffd) == 0)
        return;
    for (uintptr_t at = start; at < end; at += page)
        close_mapping(uffd, at, at + page, 0, 0);
}

/* By registering it for write protection, which does nothing to it; with the
 * process's descriptor of either mode, since the kernel walks all mappings of
 * the process when one is closed.  Where a kernel protects no memory so
 * (64-bit ARM before Linux 6.10), by its own word. */
bool hl_uffd_is_foreign(void *addr, size_t size)
{
    char why[HL_WHY_SIZE];
    struct hl_uffd uffd;
    uint64_t features;

    if (hl_uffd_features(&features, why) < 0)
        return false;
    if (!(hl_uffd_choose(&uffd, HL_DESCRIPTOR_UFFD_ASYNC, features) ||
          hl_uffd_choose(&uffd, HL_DESCRIPTOR_UFFD_SIGBUS, features)))
        return hl_vma_is_watched(addr, size);
    int err = hl_uffd_open(&uffd, addr, size, why);
    if (err == 0)
        hl_uffd_close(&uffd, addr, size, false);
    return err == -EBUSY;
}
