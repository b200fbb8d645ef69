/* The part of the Unicorn 2 library that the emulator driver uses, looked up
 * when it is first needed: nothing of it is there when this is built.
 * Numbers are those of its unicorn.h and x86.h, which Unicorn keeps. */
#ifndef HL_VM_EMULATOR_UNICORN_H
#define HL_VM_EMULATOR_UNICORN_H

#include "base.h"

struct hl_uc;         /* uc_engine */
struct hl_uc_context; /* uc_context */

enum {
    HL_UC_ARCH_X86 = 4,
    HL_UC_MODE_64 = 8,

    HL_UC_PROT_READ = 1,
    HL_UC_PROT_WRITE = 2,
    HL_UC_PROT_EXEC = 4,
    HL_UC_PROT_ALL = 7,

    HL_UC_MEM_READ = 16,
    HL_UC_MEM_WRITE = 17,
    HL_UC_MEM_FETCH = 18,

    HL_UC_HOOK_INTR = 1,
    HL_UC_HOOK_INSN = 2,
    HL_UC_HOOK_BLOCK = 8,
    HL_UC_HOOK_DATA_UNMAPPED = 1 << 4 | 1 << 5, /* read, write */
    HL_UC_HOOK_EDGE_GENERATED = 1 << 15,        /* a translation was made */
    HL_UC_HOOK_TLB_FILL = 1 << 17,

    HL_UC_INS_IN = 218,
    HL_UC_INS_OUT = 500,
    HL_UC_INS_SYSCALL = 699,
    HL_UC_INS_SYSENTER = 700,

    HL_UC_ERR_OK = 0,
    HL_UC_ERR_INSN_INVALID = 10,
    HL_UC_ERR_EXCEPTION = 21,

    /* uc_ctl: number, count of arguments, direction. */
    HL_UC_CTL_USE_EXITS = 4 | 1 << 26 | 1 << 30,
    HL_UC_CTL_EXITS = 6 | 2 << 26 | 1 << 30,
    HL_UC_CTL_TB_FLUSH = 10 | 0 << 26 | 1 << 30,
    HL_UC_CTL_TLB_FLUSH = 11 | 0 << 26 | 1 << 30,
    HL_UC_CTL_TLB_TYPE = 12 | 1 << 26 | 1 << 30,
    HL_UC_CTL_TCG_BUFFER_SIZE = 13 | 1 << 26 | 1 << 30,
    HL_UC_TLB_VIRTUAL = 1,
};

enum {
    HL_UC_CS = 11,
    HL_UC_DS = 17,
    HL_UC_EFLAGS = 25,
    HL_UC_ES = 28,
    HL_UC_FPSW = 31,
    HL_UC_FS = 32,
    HL_UC_GS = 33,
    HL_UC_RIP = 41,
    HL_UC_SS = 49,
    HL_UC_CR0 = 50,
    HL_UC_FP0 = 82,
    HL_UC_XMM0 = 122,
    HL_UC_GDTR = 243,
    HL_UC_FPCW = 246,
    HL_UC_FPTAG = 247,
    HL_UC_MXCSR = 249,
    HL_UC_FS_BASE = 250,
    HL_UC_GS_BASE = 251,
};

/* uc_x86_mmr, uc_tlb_entry, uc_tb */
struct hl_uc_mmr {
    uint16_t selector;
    uint64_t base;
    uint32_t limit, flags;
};

struct hl_uc_tlb_entry {
    uint64_t paddr;
    int perms;
};

struct hl_uc_block {
    uint64_t address;
    uint16_t instructions, size;
};

struct hl_uc_library {
    unsigned (*version)(unsigned *major, unsigned *minor);
    const char *(*strerror)(int err);
    int (*open)(int arch, int mode, struct hl_uc **out);
    int (*close)(struct hl_uc *uc);
    int (*ctl)(struct hl_uc *uc, int control, ...);
    int (*mem_map_ptr)(struct hl_uc *uc, uint64_t addr, size_t size,
                       uint32_t perms, void *host);
    int (*reg_read)(struct hl_uc *uc, int id, void *value);
    int (*reg_write)(struct hl_uc *uc, int id, const void *value);
    int (*hook_add)(struct hl_uc *uc, size_t *hook, int type, void *callback,
                    void *user, uint64_t begin, uint64_t end, ...);
    int (*emu_start)(struct hl_uc *uc, uint64_t begin, uint64_t until,
                     uint64_t timeout, size_t count);
    int (*emu_stop)(struct hl_uc *uc);
    int (*context_alloc)(struct hl_uc *uc, struct hl_uc_context **out);
    int (*context_save)(struct hl_uc *uc, struct hl_uc_context *context);
    int (*context_restore)(struct hl_uc *uc, struct hl_uc_context *context);
    int (*context_free)(struct hl_uc_context *context);
};

/* The library, loaded once for the life of the process; NULL, and `why` says
 * what to install.  Any thread. */
const struct hl_uc_library *hl_uc_load(char *why);

/* Unicorn ends the process if it gets no memory for translated code, or too
 * little other memory.  So this checks beforehand for the memory it will need:
 * `buffer` bytes to write and execute, and some for a machine.  0, or -EPERM
 * or -ENOMEM and `why`.  Memory that other threads take in between, or that a
 * machine needs later, is not covered. */
#define HL_UC_ROOM ((size_t)8 << 20)
int hl_uc_has_room(size_t buffer, char *why) HL_MUST_CHECK;

#endif
