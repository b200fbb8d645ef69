#include "vm/mshv/calls.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

#ifdef HL_FAULT_INJECTION
/* The test build takes them from a library, in child processes, too. */
__attribute__((constructor)) static void take_from_library(void)
{
    const char *path = getenv("HYPERLIGHT_FAKE_MSHV_LIBRARY");
    void *library = path && *path ? dlopen(path, RTLD_NOW) : NULL;

    if (library != NULL)
        hl_mshv_use_calls(dlsym(library, "fake_mshv_calls"));
    else if (path && *path)
        fprintf(stderr, "%s\n", dlerror());
}
#endif

void hl_mshv_use_calls(const struct hl_mshv_calls *calls)
{
    hl_mshv_calls = calls ? calls : &kernels;
}

/* What a hypercall's argument holds after EAGAIN (how far it came) the kernel
 * refuses to be given: each try begins with the caller's. */
#define LONGEST 256

int hl_mshv_ioctl(const struct hl_mshv_calls *calls, int fd,
                  unsigned long request, void *argument)
{
    /* asm-generic/ioctl.h, which not every C library has. */
    const size_t size = request >> 16 & 0x3fff;
    char given[LONGEST];
    int result = -1;

    if (size > sizeof given)
        return -EINVAL;
    if (size > 0)
        memcpy(given, argument, size);
    for (int i = 0; i < HL_MSHV_TRIES && result < 0; i++) {
        if (i > 0 && size > 0)
            memcpy(argument, given, size);
        result = calls->ioctl(fd, request, argument);
        if (result < 0 && errno != EINTR && errno != EAGAIN)
            break;
    }
    return result < 0 ? -errno : result;
}
