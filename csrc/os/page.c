#include "os/page.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/descriptor.h"
#include "os/memory.h"
#include "os/others.h"
#include "os/uapi.h"

bool hl_is_writable(uintptr_t addr)
{
    uint32_t here = 0; /* nobody waits on it: waking them does nothing */

    return syscall(SYS_futex, &here, FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG, 0, 0L,
                   addr & ~(uintptr_t)3,
                   FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0)) >= 0;
}

bool hl_is_readable(uintptr_t addr)
{
    const int no_such_operation = -1;

    return syscall(SYS_rt_sigprocmask, no_such_operation, addr & ~(uintptr_t)7,
                   NULL, 8L) < 0 &&
           errno != EFAULT;
}

bool hl_is_behind_end(uintptr_t addr)
{
    size_t page = hl_page_size();

    return madvise((void *)(addr / page * page), page, MADV_POPULATE_READ) <
               0 &&
           errno == EFAULT; /* a missing right is EINVAL */
}

static int find(int fd, const void *addr, uint64_t mask,
                struct hl_pages *found)
{
    uint64_t entries[512];
    size_t base = (uintptr_t)addr / hl_page_size();

    for (size_t page = 0; page < found->page_count;) {
        size_t want = found->page_count - page;
        if (want > HL_ARRAY_SIZE(entries))
            want = HL_ARRAY_SIZE(entries);
        hl_spend(want * HL_COST_ENTRY);
        ssize_t got = pread(fd, entries, want * sizeof entries[0],
                            (off_t)((base + page) * sizeof entries[0]));
        if (got < 0)
            return -errno;
        if (got == 0)
            return -EIO; /* the kernel ends early only past the last page */
        size_t n = (size_t)got / sizeof entries[0];
        for (size_t i = 0; i < n; i++)
            if (entries[i] & mask)
                hl_pages_add(found, page + i);
        page += n;
    }
    return 0;
}

int hl_pagemap_find(const void *addr, uint64_t mask, struct hl_pages *found)
{
    int fd = hl_descriptor_of_proc(HL_DESCRIPTOR_PAGEMAP);

    return fd < 0 ? fd : find(fd, addr, mask, found);
}

bool hl_is_in_memory(const void *addr, size_t size)
{
    const size_t page_size = hl_page_size();
    int fd = hl_descriptor_of_proc(HL_DESCRIPTOR_PAGEMAP);
    size_t page = (uintptr_t)addr / page_size;
    size_t end = ((uintptr_t)addr + size + page_size - 1) / page_size;
    uint64_t entry[64];

    while (fd >= 0 && page < end) {
        size_t n = end - page;
        if (n > HL_ARRAY_SIZE(entry))
            n = HL_ARRAY_SIZE(entry);
        if (pread(fd, entry, n * sizeof entry[0],
                  (off_t)(page * sizeof entry[0])) !=
            (ssize_t)(n * sizeof entry[0]))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!(entry[i] & HL_PAGEMAP_PRESENT))
                return false;
        page += n;
    }
    return fd >= 0;
}
