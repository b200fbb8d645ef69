#include "mem/vma.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem/map.h"

struct line {
    uintptr_t start, end;
    int prot;
    bool anonymous;
};

/* One line of maps: "start-end rwxp offset dev inode path". */
static bool parse_line(const char *text, struct line *line)
{
    char prot[5];
    uintptr_t inode;

    if (sscanf(text, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %*s %" SCNuPTR,
               &line->start, &line->end, prot, &inode) != 4)
        return false;
    line->prot = (prot[0] == 'r' ? PROT_READ : 0) |
                 (prot[1] == 'w' ? PROT_WRITE : 0) |
                 (prot[2] == 'x' ? PROT_EXEC : 0);
    line->anonymous = inode == 0 && prot[3] == 'p';
    return true;
}

int hl_vma_query(const void *addr, size_t size, struct hl_vma *vma)
{
    uintptr_t at = (uintptr_t)addr, end = at + size;
    bool first = true;
    int err = 0;
    char text[4200]; /* a path is at most PATH_MAX */

    FILE *maps = fopen("/proc/self/maps", "re");
    if (maps == NULL)
        return -errno;

    while (at < end && err == 0 && fgets(text, sizeof text, maps)) {
        struct line line;
        if (!parse_line(text, &line) || line.end <= at)
            continue;
        if (line.start > at)
            break; /* a hole */
        if (first)
            *vma = (struct hl_vma){line.prot, line.anonymous};
        else if (vma->prot != line.prot)
            err = -EINVAL;
        vma->anonymous = vma->anonymous && line.anonymous;
        first = false;
        at = line.end;
    }
    fclose(maps);
    return err == 0 && at < end ? -ENOMEM : err;
}

/* Sum of a field of smaps over the mappings that [start, end) touches, or
 * -errno. */
static ssize_t smaps_sum(uintptr_t start, uintptr_t end, const char *field)
{
    size_t value, length = strlen(field);
    ssize_t total = 0;
    bool inside = false;
    char text[4200];

    FILE *smaps = fopen("/proc/self/smaps", "re");
    if (smaps == NULL)
        return -errno;
    while (fgets(text, sizeof text, smaps)) {
        struct line line;
        if (parse_line(text, &line)) {
            inside = line.start < end && start < line.end;
            if (line.start >= end)
                break;
        } else if (inside && strncmp(text, field, length) == 0 &&
                   sscanf(text + length, "%zu", &value) == 1) {
            total += (ssize_t)value;
        }
    }
    fclose(smaps);
    return total;
}

bool hl_vma_wants_huge(const void *addr)
{
    uintptr_t at = (uintptr_t)addr;
    return smaps_sum(at, at + 1, "THPeligible:") == 1;
}

/* A line for each, below a heading. */
static bool has_swap(void)
{
    int lines = 0, c;

    FILE *swaps = fopen("/proc/swaps", "re");
    if (swaps == NULL)
        return true;
    while ((c = getc(swaps)) != EOF)
        lines += c == '\n';
    fclose(swaps);
    return lines > 1;
}

bool hl_may_be_swapped(const void *addr, size_t size)
{
    uintptr_t at = (uintptr_t)addr;
    return has_swap() && smaps_sum(at, at + size, "Swap:") != 0;
}

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

static int find(int fd, const void *addr, uint64_t mask,
                struct hl_pages *found)
{
    uint64_t entries[512];
    size_t base = (uintptr_t)addr / hl_page_size();

    for (size_t page = 0; page < found->page_count;) {
        size_t want = found->page_count - page;
        if (want > HL_ARRAY_SIZE(entries))
            want = HL_ARRAY_SIZE(entries);
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
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = find(fd, addr, mask, found);
    close(fd);
    return err;
}
