/* Interfaces between the files of the emulator driver: run.c makes and
 * runs the machine, hooks.c has the callbacks of Unicorn, code.c examines
 * code, state.c moves registers in and out. */
#ifndef HL_VM_EMULATOR_MACHINE_H
#define HL_VM_EMULATOR_MACHINE_H

#include <stdatomic.h>

#include "vm/driver.h"
#include "vm/emulator/insn.h"
#include "vm/emulator/unicorn.h"

/* Everything that a guest can read or be influenced by and Unicorn has: it
 * knows no addresses of the last x87 instruction, and no flags of exceptions
 * in MXCSR. */
struct hl_emulator_state {
    struct hl_vm_regs regs;
    uint64_t fs_base, gs_base;
    uint64_t xmm[16][2];
    uint8_t fp[8][16]; /* 10 of them each */
    uint16_t fpcw, fpsw, fptag;
    uint16_t ds, es, fs, gs;
    uint32_t mxcsr;
};

#define HL_EMULATOR_NOWHERE UINT64_MAX /* an address that no code has */

/* Places where Unicorn is told to halt; each costs a little at every leave. */
#define HL_EMULATOR_HALTS 1024

struct hl_emulator {
    struct hl_vm vm; /* first: they are cast to each other */
    const struct hl_uc_library *uc;
    struct hl_uc *engine;
    struct hl_uc_context *pristine; /* CPL 0, as it was opened */
    struct hl_vm_config config;
    struct hl_vm_regs regs;
    struct hl_emulator_state state; /* from load(), for the next run */
    bool loaded;
    bool entering; /* E1 */

    uint64_t refused, refused_error; /* the last translation that was */

    /* E4: a block with an instruction that must not be executed, where that
     * is, and where Unicorn was told to halt for it. */
    uint64_t suspect_block, suspect, halt;
    bool again; /* emu_start is to be called again, with that halt */

    /* E5: pages of executable regions, a bit each, one region behind the
     * other. */
    uint64_t *vetted;
    uint64_t halts[HL_EMULATOR_HALTS + 1]; /* and room for E4's */
    size_t halt_count;
    uint16_t weights[HL_INSN_PAGE];
    uint8_t code[2 * HL_INSN_PAGE];

    struct hl_exit exit;   /* of the run under way */
    bool left;             /* and whether it holds anything */
    uint64_t slice_end;    /* when it looks for signals */
    uint64_t looked;       /* at the clock */
    unsigned every, until; /* blocks from one look to the next; to the next */
    atomic_bool kicked;    /* not yet reported */
};

#define HL_VECTOR_UNDEFINED 6
#define HL_VECTOR_PROTECTION 13
#define HL_VECTOR_PAGE_FAULT 14

/* A register of up to 8 bytes. */
uint64_t hl_emulator_reg(const struct hl_emulator *e, int id);
/* The number that Unicorn has for general register i. */
int hl_emulator_gpr(unsigned i);

/* What the vCPU holds into `regs` and `state`, for the next run or a
 * snapshot. */
void hl_emulator_record(struct hl_emulator *e);
/* Back: all of it but RIP, RFLAGS and RSP.  0, or Unicorn's error. */
int hl_emulator_replay(const struct hl_emulator *e) HL_MUST_CHECK;
/* The selectors of data segments, which the way to CPL 3 may lose. */
void hl_emulator_replay_selectors(const struct hl_emulator *e);

/* The run under way is over for this reason; the first one counts. */
void hl_emulator_leave(struct hl_emulator *e, enum hl_exit_reason reason,
                       uint64_t value);
void hl_emulator_leave_by_exception(struct hl_emulator *e, uint64_t vector,
                                    uint64_t error, uint64_t cr2);
void hl_emulator_leave_by_fault(struct hl_emulator *e, uint64_t addr);
/* By what the instruction at RIP, which is not executed, raises. */
void hl_emulator_leave_by_instruction(struct hl_emulator *e);

/* By #UD, for this reason. */
void hl_emulator_refuse(struct hl_emulator *e, const char *why);

/* The instruction at addr, and its bytes. */
void hl_emulator_read_instruction(const struct hl_emulator *e, uint64_t addr,
                                  uint8_t *code, struct hl_insn *out);
/* E4: is there an instruction in these that must not be executed?  Where
 * Unicorn counts more instructions than there are, it took them for others. */
bool hl_emulator_is_suspect(const struct hl_emulator *e,
                            const struct hl_uc_block *block, uint64_t *where);
/* E5: may Unicorn translate what is in this page of code?  If not, the run is
 * over. */
bool hl_emulator_vet(struct hl_emulator *e, uint64_t addr);
/* Tell Unicorn of the halts: E5's, and E4's if there is one. */
void hl_emulator_set_halts(struct hl_emulator *e);
bool hl_emulator_is_halt(const struct hl_emulator *e, uint64_t addr);

/* E5: pages of all executable regions. */
size_t hl_emulator_code_pages(const struct hl_emulator *e);

/* 0, or Unicorn's error. */
int hl_emulator_add_hooks(struct hl_emulator *e) HL_MUST_CHECK;

#endif
