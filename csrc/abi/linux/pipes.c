#include "abi/linux/pipes.h"

#include "abi/linux/descriptors.h"
#include "abi/linux/queues.h"

#define RDWR 2u
#define EFD_SEMAPHORE_ 1u

/* O_DIRECT would make it one of packets. */
int64_t hl_linux_pipe2(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *in, *out;
    uint32_t queue;

    if (args[1] & ~(uint64_t)(HL_O_CLOEXEC | HL_O_NONBLOCK))
        return -EINVAL;
    int err = hl_queue_new(l, 0, &queue);
    if (err < 0)
        return err;
    int64_t from = hl_linux_open(l, HL_LINUX_PIPE_IN, args[1], &in);
    if (from >= 0)
        in->node = queue;
    else
        hl_queue_drop(l, queue);
    int64_t to =
        hl_linux_open(l, HL_LINUX_PIPE_OUT, args[1] | HL_O_WRONLY, &out);
    if (to >= 0)
        out->node = queue;
    else
        hl_queue_drop(l, queue);
    const int32_t both[] = {(int32_t)from, (int32_t)to};
    if (from >= 0 && to >= 0 &&
        hl_linux_put(l, args[0], both, sizeof both) == 0)
        return 0;
    if (from >= 0)
        hl_linux_unopen(l, from);
    if (to >= 0)
        hl_linux_unopen(l, to);
    return from < 0 || to < 0 ? -EMFILE : -EFAULT;
}

int64_t hl_linux_eventfd2(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *o;

    if (args[1] & ~(uint64_t)(EFD_SEMAPHORE_ | HL_O_CLOEXEC | HL_O_NONBLOCK))
        return -EINVAL;
    int64_t fd = hl_linux_open(l, HL_LINUX_COUNTER, args[1] | RDWR, &o);
    if (fd < 0)
        return fd;
    o->flags = (o->flags & ~HL_O_ACCMODE) | RDWR;
    o->node = args[1] & EFD_SEMAPHORE_;
    o->offset = (uint32_t)args[0];
    return fd;
}
