/* open, ioctl and close: what the driver calls. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fake/mshv/files.h"
#include "fake/mshv/interface.h"

static int to_libc(int rc)
{
    if (rc >= 0)
        return rc;
    errno = -rc;
    return -1;
}

static int open_device(int flags)
{
    int err = fake_begin(FAKE_OPEN, NULL);

    if (err < 0)
        return err;
    fake_mshv_sweep();
    err = fake_engine_probe();
    int fd = err < 0 ? err : fake_file_create(FAKE_DEVICE, NULL, flags);
    err = fake_end(fd);
    if (err < 0 && fd >= 0)
        (void)fake_file_close(fd);
    return err;
}

static int fake_open(const char *path, int flags)
{
    return strcmp(path, "/dev/mshv") == 0 ? to_libc(open_device(flags))
                                          : open(path, flags);
}

static bool is_older(const struct fake_file *file)
{
    return file->partition ? file->partition->older
                           : fake_mshv_switched(FAKE_OLDER) != 0;
}

static bool makes_partition(const struct fake_file *file,
                            unsigned long request)
{
    return file->kind == FAKE_DEVICE &&
           request == (is_older(file) ? HL_MSHV_OLD_CREATE_PARTITION
                                      : HL_MSHV_CREATE_PARTITION);
}

static bool makes_vp(const struct fake_file *file, unsigned long request)
{
    return file->kind == FAKE_PARTITION &&
           request ==
               (is_older(file) ? HL_MSHV_OLD_CREATE_VP : HL_MSHV_CREATE_VP);
}

static enum fake_kind kind_of(const struct fake_file *file,
                              unsigned long request, uint64_t argument)
{
    const bool vp = file->kind == FAKE_VP;

    if (file->kind == FAKE_DEVICE)
        return makes_partition(file, request) ? FAKE_CREATE_PARTITION
                                              : FAKE_OTHER;
    return is_older(file) ? fake_older_kind(vp, request)
                          : fake_current_kind(vp, request, argument);
}

static int create_partition(bool older, uint64_t argument)
{
    struct fake_partition *p;
    int err = older ? fake_older_check_partition(argument)
                    : fake_current_check_partition(argument);

    if (err == 0)
        err = fake_partition_create(older, &p);
    if (err < 0)
        return err;
    int fd = fake_file_create(FAKE_PARTITION, p, O_CLOEXEC);
    if (fd < 0)
        fake_partition_destroy(p);
    return fd;
}

/* Without a descriptor, the vp is there all the same. */
static int create_vp(struct fake_partition *p, uint64_t argument)
{
    struct hl_mshv_create_vp args;
    int err = fake_copy_in(&args, argument, sizeof args);

    if (err == 0)
        err = fake_vp_create(p, args.vp_index);
    return err < 0 ? err : fake_file_create(FAKE_VP, p, O_CLOEXEC);
}

static int partition_call(struct fake_file *file, unsigned long request,
                          uint64_t argument)
{
    struct fake_partition *p = file->partition;
    int rc;

    pthread_mutex_lock(&p->lock);
    if (makes_vp(file, request))
        rc = create_vp(p, argument);
    else if (p->older)
        rc = fake_older_call(p, request, argument);
    else
        rc = fake_current_call(p, request, argument);
    pthread_mutex_unlock(&p->lock);
    return rc;
}

static int vp_call(struct fake_vp *vp, unsigned long request,
                   uint64_t argument)
{
    pthread_mutex_lock(&vp->lock);
    int rc = vp->partition->older
                 ? fake_older_vp_call(vp, request, argument)
                 : fake_current_vp_call(vp, request, argument);
    pthread_mutex_unlock(&vp->lock);
    return rc;
}

static int call(struct fake_file *file, unsigned long request,
                uint64_t argument)
{
    if (makes_partition(file, request))
        return create_partition(is_older(file), argument);
    return file->kind == FAKE_DEVICE ? -ENOTTY
           : file->kind == FAKE_VP
               ? vp_call(&file->partition->vp, request, argument)
               : partition_call(file, request, argument);
}

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
    const uint64_t at = (uintptr_t)argument;
    struct fake_file *file = fake_file_take(fd);

    if (file == NULL)
        return ioctl(fd, request, argument);
    bool makes = makes_partition(file, request) || makes_vp(file, request);
    int rc = fake_begin(kind_of(file, request, at), &file->once);
    if (rc == 0) {
        int made = call(file, request, at);
        rc = fake_end(made);
        if (makes && made >= 0 && rc < 0)
            (void)fake_file_close(made);
    }
    fake_file_release(file);
    return to_libc(rc);
}

/* As Linux does: it is closed whatever is said. */
static int fake_close(int fd)
{
    if (!fake_file_close(fd))
        return close(fd);
    int err = fake_begin(FAKE_CLOSE, NULL);
    return to_libc(err < 0 ? err : fake_end(0));
}

const struct hl_mshv_calls fake_mshv_calls = {
    .open = fake_open, .ioctl = fake_ioctl, .close = fake_close};
