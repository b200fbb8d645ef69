#include "abi/abi.h"

#include <string.h>

/* The native ABI comes last: its guests' files have no mark, so it takes any
 * file that nobody else claims. */
const struct hl_abi_ops *const hl_abis[] = {
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

enum hl_left hl_abi_stopped(const struct hl_exit *exit)
{
    switch (exit->reason) {
    case HL_EXIT_KICKED:
        return HL_LEFT_KICKED;
    case HL_EXIT_INTERRUPTED:
        return HL_LEFT_INTERRUPTED;
    case HL_EXIT_TIMEOUT:
        return HL_LEFT_TIMEOUT;
    case HL_EXIT_EXCEPTION:
        return HL_LEFT_EXCEPTION;
    default:
        return HL_LEFT_BROKEN;
    }
}
