#include "vm/mshv/calls.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int kernels_open(const char *path, int flags)
{
    return open(path, flags);
}

static int kernels_ioctl(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument);
}

static const struct hl_mshv_calls kernels = {
    kernels_open,
    kernels_ioctl,
    close,
};

const struct hl_mshv_calls *hl_mshv_calls = &kernels;

void hl_mshv_use_calls(const struct hl_mshv_calls *calls)
{
    hl_mshv_calls = calls ? calls : &kernels;
}
