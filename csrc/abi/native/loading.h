/* Putting a guest into its memory: the image, and the block that its one
 * thread finds its data by.  Fills in memory that nobody else uses yet. */
#ifndef HL_ABI_NATIVE_LOADING_H
#define HL_ABI_NATIVE_LOADING_H

#include "base.h"
#include "image/elf.h"
#include "vm/driver.h"

struct hl_span {
    uint64_t addr, size;
};

/* A guest's file, as it is to lie in memory. */
struct hl_image {
    const void *file;
    size_t file_size;
    const struct hl_elf *elf;
    uint64_t base; /* added to the addresses in the file */
};

/* Host memory of a span that lies within one slot, or NULL. */
char *hl_loading_host(const struct hl_vm_config *vm, struct hl_span span);

/* The image, which may reach over several slots whose host memory lies one
 * behind the other as the guest's does.  -EINVAL, and a sentence: there is no
 * room for it. */
int hl_load_image(const struct hl_image *image, const struct hl_vm_config *vm,
                  char *why) HL_MUST_CHECK;

/* [thread-local data][block: itself, ..., canary][info] in `thread`; fills in
 * vm->fs_base, which is the block, and *info_at.  -EINVAL: no room. */
int hl_load_thread(const struct hl_image *image, struct hl_span thread,
                   const struct hl_guest_info *info, struct hl_vm_config *vm,
                   uint64_t *info_at, char *why) HL_MUST_CHECK;

#endif
