/* io_uring pins the buffers that are registered with it as the kernel pins a
 * guest's memory, fork included.  Where it is forbidden, pages are made
 * present only, and their frames are not looked at, since a fork may move
 * them. */
#include "fake/mshv/pin.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/linux/uapi.h"

#define PAGE UINT64_C(4096)
#define MOST ((uint64_t)1 << 30) /* bytes that io_uring takes at once */
#define FRAME ((UINT64_C(1) << 55) - 1)
#define PRESENT (UINT64_C(1) << 63)

#ifndef MADV_POPULATE_WRITE /* 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

static int register_all(int ring, uint64_t addr, uint64_t size)
{
    size_t count = (size / MOST) + 1;
    struct iovec *buffers = calloc(count, sizeof *buffers);
    unsigned used = 0;

    if (buffers == NULL)
        return -ENOMEM;
    for (uint64_t at = 0; at < size; at += buffers[used++].iov_len)
        buffers[used] = (struct iovec){(void *)(uintptr_t)(addr + at),
                                       size - at < MOST ? size - at : MOST};
    long rc = syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
                      buffers, used);
    int err = rc < 0 ? -errno : 0;
    free(buffers);
    return err;
}

static int hold_here(struct fake_pin *pin)
{
    struct io_uring_params params = {0};

    pin->ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    int err =
        pin->ring < 0 ? -errno : register_all(pin->ring, pin->addr, pin->size);
    if (err == 0 || err == -EFAULT)
        return err;
    if (pin->ring >= 0)
        close(pin->ring);
    pin->ring = -1;
    return madvise((void *)(uintptr_t)pin->addr, pin->size,
                   MADV_POPULATE_WRITE) < 0
               ? -EFAULT
               : 0;
}

struct job {
    struct fake_pin *pin;
    int err;
};

static void *do_job(void *argument)
{
    struct job *job = argument;

    job->err = hold_here(job->pin);
    return NULL;
}

/* Closing a ring interrupts the thread that made it, as a signal would, and
 * long after that: so it is made by a thread that is gone by then. */
static int hold(struct fake_pin *pin)
{
    struct job job = {.pin = pin};
    sigset_t all, before;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, NULL, do_job, &job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (err)
        return -ENOMEM;
    pthread_join(thread, NULL);
    return job.err;
}

static int open_pagemap(void)
{
    return open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

static bool read_entries(int fd, uint64_t addr, uint64_t *entries,
                         size_t count)
{
    return pread(fd, entries, count * 8, (off_t)(addr / PAGE * 8)) ==
           (ssize_t)(count * 8);
}

static int note_frames(struct fake_pin *pin)
{
    size_t count = pin->size / PAGE;
    int fd = open_pagemap();

    if (fd < 0)
        return -errno;
    pin->frames = calloc(count, 8);
    if (pin->frames == NULL ||
        !read_entries(fd, pin->addr, pin->frames, count)) {
        close(fd);
        return -ENOMEM;
    }
    close(fd);
    for (size_t i = 0; i < count; i++)
        pin->frames[i] &= FRAME;
    return 0;
}

int fake_pin(uint64_t addr, uint64_t size, struct fake_pin *pin)
{
    unsigned char in_core;

    *pin = (struct fake_pin){.addr = addr, .size = size, .ring = -1};
    if (mincore((void *)(uintptr_t)addr, 1, &in_core) < 0)
        return -EINVAL;
    int err = hold(pin);
    if (err == 0)
        err = note_frames(pin);
    if (err < 0)
        fake_unpin(pin, false);
    return err;
}

void fake_unpin(struct fake_pin *pin, bool lost)
{
    if (pin->ring >= 0 && !lost)
        close(pin->ring);
    free(pin->frames);
    *pin = (struct fake_pin){.ring = -1};
}

static bool all_present(int fd, const struct fake_pin *pin)
{
    struct page_region missing;
    struct pm_scan_arg scan = {
        .size = sizeof scan,
        .start = pin->addr,
        .end = pin->addr + pin->size,
        .vec = (uintptr_t)&missing,
        .vec_len = 1,
        .max_pages = 1,
        .category_inverted = PAGE_IS_PRESENT,
        .category_mask = PAGE_IS_PRESENT,
        .return_mask = PAGE_IS_PRESENT,
    };

    return ioctl(fd, PAGEMAP_SCAN, &scan) == 0;
}

static bool all_same(int fd, const struct fake_pin *pin)
{
    const size_t count = pin->size / PAGE;
    uint64_t entries[512];

    for (size_t at = 0; at < count; at += HL_ARRAY_SIZE(entries)) {
        size_t n = count - at < HL_ARRAY_SIZE(entries)
                       ? count - at
                       : HL_ARRAY_SIZE(entries);
        if (!read_entries(fd, pin->addr + at * PAGE, entries, n))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!(entries[i] & PRESENT) ||
                (pin->ring >= 0 &&
                 (entries[i] & FRAME) != pin->frames[at + i]))
                return false;
    }
    return true;
}

int fake_pin_check(const struct fake_pin *pin, bool frames)
{
    int fd = open_pagemap();

    if (fd < 0)
        return -errno;
    bool fine = frames ? all_same(fd, pin) : all_present(fd, pin);
    close(fd);
    return fine ? 0 : -EFAULT;
}
