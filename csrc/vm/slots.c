#include "vm/slots.h"

void *hl_vm_host(const struct hl_vm_config *vm, uint64_t addr, uint64_t size)
{
    for (size_t i = 0; i < vm->slot_count; i++) {
        const struct hl_vm_slot *s = &vm->slots[i];
        if (addr >= s->addr && addr - s->addr < s->size &&
            size <= s->size - (addr - s->addr))
            return (char *)s->host + (addr - s->addr);
    }
    return NULL;
}

/* Of the finer ones the first that ends behind addr. */
static size_t find_finer(const struct hl_vm_config *vm, uint64_t addr)
{
    size_t low = 0, high = vm->finer_count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (vm->finer[middle].addr + vm->finer[middle].size <= addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

unsigned hl_vm_perms(const struct hl_vm_config *vm, uint64_t addr,
                     uint64_t *end)
{
    size_t i = 0;

    while (i < vm->region_count &&
           addr - vm->regions[i].addr >= vm->regions[i].size)
        i++;
    if (i == vm->region_count)
        return 0;
    unsigned perms = vm->regions[i].perms | HL_PERM_READ;
    *end = vm->regions[i].addr + vm->regions[i].size;
    size_t at = find_finer(vm, addr);
    if (at == vm->finer_count)
        return perms;
    const struct hl_x86_region *f = &vm->finer[at];
    if (f->addr > addr) {
        *end = f->addr < *end ? f->addr : *end;
        return perms;
    }
    *end = f->addr + f->size;
    return f->perms | HL_PERM_READ;
}
