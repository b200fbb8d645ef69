#include "abi/linux/process.h"

#include <string.h>

int hl_linux_get(const struct hl_linux *l, uint64_t addr, void *to,
                 size_t size)
{
    const void *from = hl_window_read(&l->window, addr, size);

    if (from == NULL)
        return -EFAULT;
    memcpy(to, from, size);
    return 0;
}

int hl_linux_put(const struct hl_linux *l, uint64_t addr, const void *from,
                 size_t size)
{
    void *to = hl_window_write(&l->window, addr, size);

    if (to == NULL)
        return -EFAULT;
    memcpy(to, from, size);
    return 0;
}

struct hl_linux_open *hl_linux_opened(const struct hl_linux *l, uint64_t fd)
{
    struct hl_linux_process *p = l->process;

    if ((uint32_t)fd >= HL_LINUX_FILES ||
        p->descriptors[(uint32_t)fd].open == 0)
        return NULL;
    return &p->open[p->descriptors[(uint32_t)fd].open - 1];
}

uint32_t hl_linux_node_of(const struct hl_linux *l, uint64_t fd)
{
    const struct hl_linux_open *o = hl_linux_opened(l, fd);

    return o && o->kind == HL_LINUX_FILE ? o->node : 0;
}
