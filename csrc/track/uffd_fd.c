#include "track/uffd_fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "track/track.h"

/* USER_MODE_ONLY is what an unprivileged user may have; write protection is
 * resolved without a reader of the descriptor, so it takes nothing from us.
 * Kernels before 5.11 do not know the flag. */
static int new_fd(char *why)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    if (fd < 0 && errno == EINVAL)
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
    if (fd >= 0)
        return fd;
    if (errno == ENOSYS)
        return hl_why(why, -ENOSYS,
                      "userfaultfd: not compiled into this kernel, or hidden "
                      "by a seccomp filter");
    if (errno == EPERM)
        return hl_why(why, -EPERM,
                      "userfaultfd: forbidden here, by a seccomp filter "
                      "(containers) or vm.unprivileged_userfaultfd");
    return hl_why(why, -errno, "userfaultfd: %s", strerror(errno));
}

int hl_uffd_features(uint64_t *features, char *why)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = new_fd(why), err = 0;

    if (fd < 0)
        return fd;
    if (ioctl(fd, UFFDIO_API, &api) < 0)
        err = hl_why(why, -errno, "UFFDIO_API: %s", strerror(errno));
    close(fd);
    *features = api.features;
    return err;
}

int hl_uffd_open(void *addr, size_t size, uint64_t features, char *why)
{
    int err;
    int fd = new_fd(why);
    if (fd < 0)
        return fd;

    struct uffdio_api api = {.api = UFFD_API, .features = features};
    if (ioctl(fd, UFFDIO_API, &api) < 0) {
        err = hl_why(why, -errno, "UFFDIO_API: %s", strerror(errno));
        goto fail;
    }
    struct uffdio_register range = {
        .range = {.start = (uintptr_t)addr, .len = size},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    if (ioctl(fd, UFFDIO_REGISTER, &range) < 0) {
        err =
            errno == EBUSY
                ? hl_why(why, -EBUSY,
                         "UFFDIO_REGISTER: another userfaultfd has it")
                : hl_why(why, -errno, "UFFDIO_REGISTER: %s", strerror(errno));
        goto fail;
    }
    return fd;

fail:
    close(fd);
    return err;
}

int hl_uffd_protect(int fd, const void *addr, size_t size, bool on)
{
    struct uffdio_writeprotect wp = {
        .range = {.start = (uintptr_t)addr, .len = size},
        .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };

    while (ioctl(fd, UFFDIO_WRITEPROTECT, &wp) < 0)
        if (errno != EAGAIN) /* mappings are changing: ask again */
            return -errno;
    return 0;
}

void hl_uffd_close(int fd, const void *addr, size_t size, bool forked)
{
    struct uffdio_range range = {.start = (uintptr_t)addr, .len = size};

    if (!forked)
        (void)ioctl(fd, UFFDIO_UNREGISTER, &range);
    close(fd);
}
