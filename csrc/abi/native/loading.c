#include "abi/native/loading.h"

#include <string.h>

#include "os/memory.h"

#define CANARY_AT 0x28
#define INFO_AT 64 /* behind the block's start */

char *hl_loading_host(const struct hl_vm_config *vm, struct hl_span span)
{
    for (size_t i = 0; i < vm->slot_count; i++) {
        const struct hl_vm_slot *s = &vm->slots[i];
        if (span.addr >= s->addr && span.addr - s->addr < s->size &&
            span.size <= s->size - (span.addr - s->addr))
            return (char *)s->host + (span.addr - s->addr);
    }
    return NULL;
}

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

/* x86-64 ELF TLS, variant II (System V ABI for x86-64, 3.4.6; Drepper, "ELF
 * Handling for Thread-Local Storage", 4.4.6): the block is aligned as the data
 * wants it, and the data begins at the block less its size rounded up to its
 * alignment.  What is rounded is a gap at its end, not at its start. */
int hl_load_thread(const struct hl_image *image, struct hl_span thread,
                   const struct hl_guest_info *info, struct hl_vm_config *vm,
                   uint64_t *info_at, char *why)
{
    const struct hl_elf *elf = image->elf;
    uint64_t tls_align = elf->tls_align ? elf->tls_align : 1;
    uint64_t before = hl_align_up(elf->tls_size, tls_align);
    uint64_t align = tls_align < 64 ? 64 : tls_align;
    uint64_t block = hl_align_up(thread.addr + before, align);
    uint64_t end = block + INFO_AT + sizeof *info;
    const struct hl_span tls = {image->base + elf->tls_addr,
                                elf->tls_file_size};
    const char *from = tls.size ? hl_loading_host(vm, tls) : NULL;
    char *host = hl_loading_host(vm, thread);
    uint64_t canary;

    if (host == NULL || end > thread.addr + thread.size)
        return hl_why(why, -EINVAL, "the layout has no room for the thread");
    if (tls.size && from == NULL)
        return hl_why(why, -EINVAL, "thread-local data is not in the image");
    int err = hl_random(&canary, sizeof canary);
    if (err < 0)
        return hl_why(why, err, "random bytes: %s", strerror(-err));
    canary &= ~UINT64_C(0xff); /* ends a string that is copied over it */
    char *at = host + (block - thread.addr);
    if (tls.size)
        memcpy(at - before, from, tls.size);
    memcpy(at, &block, sizeof block);
    memcpy(at + CANARY_AT, &canary, sizeof canary);
    memcpy(at + INFO_AT, info, sizeof *info);
    vm->fs_base = block;
    *info_at = block + INFO_AT;
    return 0;
}
