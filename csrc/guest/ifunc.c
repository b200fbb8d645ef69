/* Functions that exist in several versions: before anything else runs, each
 * one's resolver says which is called, and its address goes into the table
 * that calls go through.  Linux's libm.a has a hundred of them. */
#include "internal.h"

/* A relocation of type R_X86_64_IRELATIVE: the linker makes no other kind for
 * a program at a fixed address, and guest.ld checks that. */
struct ifunc {
    uint64_t *slot;
    uint64_t type;
    uint64_t (*resolve)(void);
};

extern const struct ifunc hl_ifuncs[], hl_ifuncs_end[];

/* What the resolvers of Linux's libraries look into to see what the processor
 * has: nothing beyond what all have.  So a guest computes the same, bit by
 * bit, on all machines and in the emulator, and may be moved between them.
 * Its layout differs from version to version; no version has as much. */
extern const char _dl_x86_cpu_features[4096];
__attribute__((weak)) const char _dl_x86_cpu_features[4096] = {0};

void hl_choose_ifuncs(void)
{
    for (const struct ifunc *f = hl_ifuncs; f < hl_ifuncs_end; f++)
        *f->slot = f->resolve();
}
