#include "os/linux/file.h"

#include <sys/stat.h>

int hl_file_of(int fd, struct hl_file *file)
{
    struct stat now;

    if (fstat(fd, &now) < 0)
        return -errno;
    *file = (struct hl_file){now.st_dev, now.st_ino};
    return 0;
}

bool hl_file_is(int fd, const struct hl_file *file)
{
    struct hl_file now;

    return hl_file_of(fd, &now) == 0 && now.device == file->device &&
           now.inode == file->inode;
}

/* EINVAL: vCPUs of KVM, and userfaultfds. */
bool hl_file_is_others_answer(int err)
{
    return err == -ENOTTY || err == -EINVAL || err == -ENODEV ||
           err == -EACCES || err == -EBADF;
}
