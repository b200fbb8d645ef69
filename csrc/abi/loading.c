#include "abi/loading.h"

int hl_load_image(const struct hl_image *image, const struct hl_vm_config *vm,
                  char *why)
{
    const struct hl_elf *elf = image->elf;
    uint64_t low = image->base + elf->low, size = elf->high - elf->low;
    char *start = NULL, *end = NULL;

    for (size_t i = 0; i < vm->slot_count; i++) {
        const struct hl_vm_slot *s = &vm->slots[i];
        if (low >= s->addr && low - s->addr < s->size)
            start = end = (char *)s->host + (low - s->addr);
        if (end == NULL || low + (uint64_t)(end - start) < s->addr ||
            low + (uint64_t)(end - start) - s->addr >= s->size)
            continue;
        if (end != (char *)s->host + (low + (uint64_t)(end - start) - s->addr))
            break;
        end = (char *)s->host + s->size;
    }
    if (start == NULL || (uint64_t)(end - start) < size)
        return hl_why(why, -EINVAL, "the layout has no room for the image");
    return hl_elf_load(elf, image->file, image->file_size, image->base, start,
                       why);
}
