#include "abi/linux/process.h"

#include <string.h>

#include "os/wait.h"

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

static size_t process_size(void)
{
    return (sizeof(struct hl_linux_process) + HL_LINUX_PAGE - 1) &
           ~(HL_LINUX_PAGE - 1);
}

size_t hl_linux_kernel_size(size_t file_pages)
{
    return process_size() + hl_tree_size(file_pages);
}

void hl_linux_begin(struct hl_linux *l, void *memory, size_t file_pages)
{
    static const enum hl_linux_kind first[] = {
        HL_LINUX_STDIN,
        HL_LINUX_STDOUT,
        HL_LINUX_STDERR,
    };
    struct hl_linux_process *p = memory;

    l->process = p;
    hl_window_own(&l->window, p, sizeof *p);
    p->brk_start = p->brk = l->arena.addr;
    p->file_mode_mask = 022;
    for (uint16_t i = 0; i < HL_ARRAY_SIZE(first); i++) {
        p->open[i] = (struct hl_linux_open){
            .kind = first[i],
            .refs = 1,
            .flags = first[i] == HL_LINUX_STDIN ? 0 : 1,
        };
        p->descriptors[i].open = (uint16_t)(i + 1);
    }
    hl_tree_init(&l->files, &l->window, (char *)memory + process_size(),
                 file_pages, hl_real_time());
    p->folder = HL_TREE_ROOT;
    hl_tree_open(&l->files, p->folder);
}
