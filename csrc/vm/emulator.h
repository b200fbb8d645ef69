/* What the files of the emulator driver tell each other: emulator.c makes and
 * runs the machine, emulator_state.c moves registers in and out. */
#ifndef HL_VM_EMULATOR_H
#define HL_VM_EMULATOR_H

#include <stdatomic.h>

#include "vm/driver.h"
#include "vm/unicorn.h"

struct hl_emulator_state {
    struct hl_vm_regs regs;
    uint64_t fs_base, gs_base;
    uint64_t xmm[16][2];
    uint8_t fp[8][16]; /* 10 of them each */
    uint16_t fpcw, fpsw, fptag;
    uint32_t mxcsr;
};

struct hl_emulator {
    struct hl_vm vm; /* first: they are cast to each other */
    const struct hl_uc_library *uc;
    struct hl_uc *engine;
    struct hl_uc_context *pristine; /* CPL 0, as it was opened */
    struct hl_vm_config config;
    struct hl_vm_regs regs;
    struct hl_emulator_state state; /* what load() left to the next run */
    bool loaded;
    bool entering; /* E1 */

    uint64_t refused, refused_error; /* the last translation that was */

    struct hl_exit exit; /* of the run under way */
    bool left;           /* and whether it holds anything */
    uint64_t slice_end;  /* when it looks for signals */
    unsigned blocks;
    atomic_bool kicked; /* not yet reported */
};

/* A register of up to 8 bytes. */
uint64_t hl_emulator_reg(const struct hl_emulator *e, int id);
/* The number that Unicorn has for general register i. */
int hl_emulator_gpr(unsigned i);

/* What the vCPU holds into `regs` and `state`, for the next run or a
 * snapshot. */
void hl_emulator_record(struct hl_emulator *e);
/* Back: all of it but RIP, RFLAGS and RSP.  0, or Unicorn's error. */
int hl_emulator_replay(const struct hl_emulator *e) HL_MUST_CHECK;

#endif
