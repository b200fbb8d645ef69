#include "abi/abi.h"

#include <string.h>

/* The native ABI comes last: its guests' files have no mark, so it takes any
 * file that nobody else claims. */
const struct hl_abi_ops *const hl_abis[] = {
#ifndef _WIN32 /* whose numbers of errors are others */
    &hl_abi_linux,
#endif
    &hl_abi_native,
};
const size_t hl_abi_count = HL_ARRAY_SIZE(hl_abis);

const struct hl_abi_ops *hl_abi_find(const char *name,
                                     const struct hl_image *image)
{
    for (size_t i = 0; i < hl_abi_count; i++) {
        if (name ? strcmp(hl_abis[i]->name, name) == 0
                 : hl_abis[i]->takes(image))
            return hl_abis[i];
    }
    return NULL;
}
