/* How a process begins. */
#include <string.h>

#include "abi/linux/given.h"
#include "os/wait.h"

static size_t process_size(void)
{
    return (sizeof(struct hl_linux_process) + HL_LINUX_PAGE - 1) &
           ~(HL_LINUX_PAGE - 1);
}

size_t hl_linux_kernel_size(size_t file_pages)
{
    return process_size() + hl_tree_size(file_pages);
}

/* There is room: the tree is empty. */
static void make_devices(struct hl_linux *l)
{
    static const struct {
        const char *name;
        enum hl_linux_kind kind;
    } devices[] = {
        {"null", HL_LINUX_NULL},       {"zero", HL_LINUX_ZERO},
        {"random", HL_LINUX_CHANCE},   {"urandom", HL_LINUX_CHANCE},
        {"hyperlight", HL_LINUX_TALK},
    };
    const uint64_t now = hl_real_time();
    const struct hl_linux_given folder = {
        .name = "dev",
        .name_size = 3,
        .kind = HL_TREE_FOLDER,
        .mode = 0755,
        .changed = now,
        .fixed = true,
    };
    uint32_t dev, node;

    int err = hl_linux_give(l, HL_TREE_ROOT, &folder, &dev);
    for (size_t i = 0; i < HL_ARRAY_SIZE(devices) && err == 0; i++) {
        const struct hl_linux_given device = {
            .name = devices[i].name,
            .name_size = strlen(devices[i].name),
            .kind = HL_TREE_DEVICE,
            .mode = 0666,
            .changed = now,
            .source = devices[i].kind,
        };
        err = hl_linux_give(l, dev, &device, &node);
    }
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
    p->most_files = HL_LINUX_FILES;
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
    make_devices(l);
}
