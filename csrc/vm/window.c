#include "vm/window.h"

#include "vm/slots.h"

/* Regions may adjoin, in any order. */
bool hl_window_allows(const struct hl_window *w, uint64_t addr, uint64_t size,
                      unsigned perm)
{
    if (size == 0 || size > UINT64_MAX - addr)
        return false;
    for (size_t i = 0; i < w->vm->region_count; i++) {
        const struct hl_x86_region *r = &w->vm->regions[i];
        if (!(r->perms & perm) || addr < r->addr || addr - r->addr >= r->size)
            continue;
        uint64_t here = r->size - (addr - r->addr);
        if (size <= here)
            return true;
        return hl_window_allows(w, addr + here, size - here, perm);
    }
    return false;
}

static void *find(const struct hl_window *w, uint64_t addr, uint64_t size,
                  unsigned perm)
{
    if (!hl_window_allows(w, addr, size, perm))
        return NULL;
    return hl_vm_host(w->vm, addr, size);
}

const void *hl_window_read(const struct hl_window *w, uint64_t addr,
                           uint64_t size)
{
    return find(w, addr, size, HL_PERM_READ);
}

void *hl_window_write(const struct hl_window *w, uint64_t addr, uint64_t size)
{
    void *host = find(w, addr, size, HL_PERM_WRITE);

    if (host)
        w->written(w->context, host, size);
    return host;
}

void hl_window_own(const struct hl_window *w, const void *host, size_t size)
{
    w->written(w->context, host, size);
}
