/* Putting a guest's file into guest memory.  Fills in memory that nobody else
 * uses yet. */
#ifndef HL_ABI_LOADING_H
#define HL_ABI_LOADING_H

#include "base.h"
#include "image/elf.h"
#include "vm/driver.h"

struct hl_span {
    uint64_t addr, size;
};

/* A guest's file, and where it goes. */
struct hl_image {
    const void *file;
    size_t file_size;
    const struct hl_elf *elf;
    uint64_t base; /* added to the addresses in the file */
};

/* Load the image.  It may reach over several slots whose host memory lies one
 * behind the other as the guest's does.  -EINVAL, and a sentence in `why`: the
 * layout has no room for it. */
int hl_load_image(const struct hl_image *image, const struct hl_vm_config *vm,
                  char *why) HL_MUST_CHECK;

#endif
