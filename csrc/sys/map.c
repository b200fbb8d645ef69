#include "mem/map.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem/uapi.h"
#include "mem/vma.h"

#define HUGE_SIZE ((size_t)2 << 20)

static atomic_size_t live;

size_t hl_page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

size_t hl_map_count(void) { return atomic_load(&live); }

static bool wants_huge(size_t size, enum hl_huge huge)
{
    return huge == HL_HUGE_ALWAYS ||
           (huge == HL_HUGE_AUTO && size >= HL_HUGE_AUTO_SIZE);
}

int hl_map_create(struct hl_map *map, size_t size, enum hl_huge huge)
{
    size_t page = hl_page_size();
    /* A huge page must start on its own boundary: leave room to move up. */
    size_t align = wants_huge(size, huge) ? HUGE_SIZE : page;

    if (size == 0 || size > SIZE_MAX - align - 3 * page)
        return -ENOMEM;
    size = (size + page - 1) / page * page;
    size_t reserved = size + align + page;

    char *base = mmap(NULL, reserved, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return -errno;

    uintptr_t start = ((uintptr_t)base + page + align - 1) / align * align;
    char *addr = base + (start - (uintptr_t)base);
    if (mprotect(addr, size, PROT_READ | PROT_WRITE) < 0) {
        int err = -errno;
        munmap(base, reserved);
        return err;
    }
    /* Advice, refused where the kernel has no huge pages.  "Never" must be
     * said as well: some systems use them wherever nobody objects. */
    if (wants_huge(size, huge))
        (void)madvise(addr, size, MADV_HUGEPAGE);
    else if (huge == HL_HUGE_NEVER)
        (void)madvise(addr, size, MADV_NOHUGEPAGE);

    *map = (struct hl_map){addr, size, base, reserved};
    atomic_fetch_add(&live, 1);
    return 0;
}

void hl_map_destroy(struct hl_map *map)
{
    if (map->base == NULL)
        return;
    munmap(map->base, map->reserved);
    *map = (struct hl_map){0};
    atomic_fetch_sub(&live, 1);
}

bool hl_map_collapse(void *addr, size_t size)
{
    uintptr_t start = (uintptr_t)addr, end = start + size;

    start = (start + HUGE_SIZE - 1) / HUGE_SIZE * HUGE_SIZE;
    end = end / HUGE_SIZE * HUGE_SIZE;
    /* The kernel does it even where the system's setting is never to. */
    return start < end && hl_vma_wants_huge(addr) &&
           madvise((void *)start, end - start, MADV_COLLAPSE) == 0;
}
