#include "vm/window.h"

#include "vm/slots.h"

/* Regions may adjoin, in any order. */
bool hl_window_allows(const struct hl_window *w, uint64_t addr, uint64_t size,
                      unsigned perm)
{
    if (size == 0 || size > UINT64_MAX - addr)
        return false;
    for (uint64_t end = addr + size, here; addr < end; addr = here)
        if (!(hl_vm_perms(w->vm, addr, &here) & perm))
            return false;
    return true;
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
