#include "abi/linux/bake.h"

#include <stdlib.h>

#include "abi/linux/mappings.h"
#include "vm/slots.h"

#define PROT_WRITE_ 2u
#define PROT_EXEC_ 4u

int hl_linux_load_interpreter(struct hl_linux *l, struct hl_image *image,
                              char *why)
{
    const struct hl_elf *elf = image->elf;
    uint64_t size = elf->high - elf->low;
    uint64_t end = l->arena.addr + l->arena.size;

    if (!elf->pie || size > l->arena.size / 2)
        return hl_why(why, -EINVAL, "its interpreter does not fit");
    image->base = (end - size) / elf->align * elf->align - elf->low;
    int err = hl_load_image(image, l->window.vm, why);
    for (size_t i = 0; i < elf->segment_count && err == 0; i++) {
        const struct hl_elf_segment *s = &elf->segments[i];
        const struct hl_linux_mapping m = {
            .start = image->base + s->addr,
            .end = image->base + s->addr + s->size,
            .prot = s->perms | HL_PERM_READ,
        };
        err = hl_linux_map_as(l, m.start, m.end, &m);
    }
    return err;
}

/* Is it for the page tables to enforce?  Writable memory is the arena's
 * default; what nobody may touch, programs make usable later. */
static bool is_carved(const struct hl_linux_mapping *m)
{
    return m->prot & PROT_EXEC_ || (m->prot == HL_PERM_READ && m->from_file);
}

/* Writable and executable is more than anybody gets: what is executable stays
 * so, since it was asked for in the trusted start. */
static unsigned perms_of(const struct hl_linux_mapping *m)
{
    return HL_PERM_READ | (m->prot & PROT_EXEC_ ? HL_PERM_EXECUTE : 0);
}

static void set_arena(const struct hl_linux *l, struct hl_vm_config *vm)
{
    for (size_t i = 0; i < vm->region_count; i++)
        if (vm->regions[i].addr == l->arena.addr)
            vm->regions[i].perms = HL_PERM_READ | HL_PERM_WRITE;
}

int hl_linux_bake(struct hl_linux *l, struct hl_vm_config *vm)
{
    struct hl_linux_process *p = l->process;
    size_t count = 0;

    if (p->baked)
        return -EINVAL;
    struct hl_x86_region *finer = calloc(p->mapping_count + 1, sizeof *finer);
    if (finer == NULL)
        return -ENOMEM;
    hl_window_own(&l->window, p, sizeof *p);
    for (size_t i = 0; i < p->mapping_count; i++) {
        struct hl_linux_mapping *m = &p->mappings[i];
        if (!is_carved(m))
            continue;
        m->baked = true;
        finer[count++] =
            (struct hl_x86_region){m->start, m->end - m->start, perms_of(m)};
    }
    p->baked = true;
    l->finer = finer;
    vm->finer = finer;
    vm->finer_count = count;
    set_arena(l, vm);
    return 0;
}
