#include "os/map.h"

#include <stdatomic.h>

#include "os/joined.h"
#include "os/others.h"
#include "os/vma.h"

static atomic_size_t live;

size_t hl_map_count(void) { return atomic_load(&live); }

static bool wants_huge(size_t size, enum hl_huge huge)
{
    return huge == HL_HUGE_ALWAYS ||
           (huge == HL_HUGE_AUTO && size >= HL_HUGE_AUTO_SIZE &&
            hl_huge_is_wanted());
}

int hl_map_create(struct hl_map *map, size_t size, enum hl_huge huge)
{
    size_t page = hl_page_size();
    /* A huge page must start on its own boundary: leave room to move up. */
    size_t align = wants_huge(size, huge) ? hl_huge_size() : page;

    if (size == 0 || size > SIZE_MAX - align - 3 * page)
        return -ENOMEM;
    size = hl_align_up(size, page);
    size_t reserved = size + align + page;
    void *base;

    int err = hl_joined_make_room(&hl_watchable, reserved, false, &base);
    if (err < 0)
        return err;
    uintptr_t start = hl_align_up((uintptr_t)base + page, align);
    char *addr = (char *)base + (start - (uintptr_t)base);
    err = hl_memory_allow(addr, size);
    if (err < 0) {
        hl_memory_release(base, reserved);
        return err;
    }
    if (huge == HL_HUGE_NEVER || wants_huge(size, huge))
        hl_memory_want_huge(addr, size, huge != HL_HUGE_NEVER);

    *map = (struct hl_map){addr, size, base, reserved, false};
    atomic_fetch_add(&live, 1);
    return 0;
}

int hl_map_create_joined(struct hl_map *map, size_t size)
{
    size_t page = hl_page_size();
    void *base;

    if (size == 0 || size > SIZE_MAX - 3 * page)
        return -ENOMEM;
    size = hl_align_up(size, page);
    size_t reserved = size + 2 * page;
    int err = hl_joined_reserve(&hl_watchable, reserved, &base);
    if (err < 0)
        return err;
    char *addr = (char *)base + page;
    err = hl_memory_guard(base, page);
    if (err == 0)
        err = hl_memory_guard(addr + size, page);
    if (err < 0) {
        hl_joined_release(base, reserved);
        return err;
    }
    *map = (struct hl_map){addr, size, base, reserved, true};
    atomic_fetch_add(&live, 1);
    return 0;
}

void hl_map_destroy(struct hl_map *map)
{
    if (map->base == NULL)
        return;
    if (map->joined)
        hl_joined_release(map->base, map->reserved);
    else
        hl_memory_release(map->base, map->reserved);
    *map = (struct hl_map){0};
    atomic_fetch_sub(&live, 1);
}
