#include "os/linux/pagemap.h"

#include <unistd.h>

#include "os/linux/descriptor.h"
#include "os/memory.h"
#include "os/others.h"

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
