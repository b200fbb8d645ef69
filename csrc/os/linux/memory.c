#include "os/memory.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "os/linux/uapi.h"

const struct hl_backing hl_anonymous = {
    .name = "anonymous",
    .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
};

const struct hl_backing hl_watchable = {
    .name = "anonymous",
    .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
};

const char hl_memory_call[] = "mmap", hl_protect_call[] = "mprotect";

/* Asked several times in each restore; sysconf is a call and a long table. */
size_t hl_page_size(void)
{
    static atomic_size_t size;
    size_t known = atomic_load_explicit(&size, memory_order_relaxed);

    if (known == 0) {
        known = (size_t)sysconf(_SC_PAGESIZE);
        atomic_store_explicit(&size, known, memory_order_relaxed);
    }
    return known;
}

int hl_memory_reserve(const struct hl_backing *backing, size_t size,
                      bool usable, void **addr)
{
    int prot = usable ? PROT_READ | PROT_WRITE : PROT_NONE;
    int err = 0;
    int fd = backing->open ? backing->open(size) : -1;
    if (backing->open && fd < 0)
        return fd;

    void *at = mmap(NULL, size, prot, backing->flags, fd, 0);
    if (at == MAP_FAILED)
        err = -errno;
    else
        *addr = at;
    if (fd >= 0)
        close(fd);
    return err;
}

int hl_memory_allow(void *addr, size_t size)
{
    return mprotect(addr, size, PROT_READ | PROT_WRITE) < 0 ? -errno : 0;
}

/* A hole in the middle of a mapping makes two of one, which the kernel refuses
 * where there are too many. */
void hl_memory_release(void *addr, size_t size)
{
    if (munmap(addr, size) < 0)
        (void)madvise(addr, size, MADV_DONTNEED);
}

int hl_memory_guard(void *addr, size_t size)
{
    if (madvise(addr, size, MADV_GUARD_INSTALL) == 0)
        return 0;
    return mprotect(addr, size, PROT_NONE) < 0 ? -errno : 0;
}

int hl_memory_try_executable(size_t size)
{
    void *tried = mmap(NULL, size, PROT_READ | PROT_WRITE | PROT_EXEC,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (tried == MAP_FAILED)
        return -errno;
    (void)munmap(tried, size);
    return 0;
}

void hl_memory_want_huge(void *addr, size_t size, bool wanted)
{
    (void)madvise(addr, size, wanted ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

bool hl_memory_collapse(void *addr, size_t size)
{
    return madvise(addr, size, MADV_COLLAPSE) == 0;
}

bool hl_memory_drop(void *addr, size_t size)
{
    return madvise(addr, size, MADV_DONTNEED) == 0;
}

void hl_memory_forget(void *addr, size_t size)
{
    (void)hl_memory_drop(addr, size);
}

int hl_random(void *to, size_t size)
{
    ssize_t got = getrandom(to, size, 0);

    if (got < 0)
        return -errno;
    return (size_t)got == size ? 0 : -EIO;
}
