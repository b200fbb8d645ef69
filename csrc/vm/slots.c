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
