/* What an x86-64 processor needs in memory before a guest can run in long mode
 * at CPL 3: page tables, GDT, IDT, TSS, and stubs that report exceptions
 * (Intel SDM vol. 3 ch. 3-8, AMD APM vol. 2 ch. 4-5, 8, 12).
 *
 *  X1. Virtual and physical addresses are equal; nothing outside of a region
 *      is mapped.
 *  X2. The tables themselves are mapped for the supervisor only: the guest can
 *      neither read nor write them.  Of the pages around them it can read only
 *      the two of struct hl_x86_entry.
 *  X3. Nothing is both writable and executable, but what HL_PERM_BOTH says.
 *  X4. Accessed and dirty bits are set from the start, so that no processor
 *      ever writes to the page tables.
 *  X5. Of all I/O ports the guest reaches HL_PORT_GUEST, by the TSS's bitmap,
 *      and HL_PORT_SYSTEM_CALL where its system calls leave.
 *
 * Pure: no system call, no lock; fills in bytes of memory that the caller
 * owns. */
#ifndef HL_IMAGE_X86_H
#define HL_IMAGE_X86_H

#include "base.h"
#include "guest/abi.h"

/* Where exceptions leave: the port behind HL_PORT_GUEST, which CPL 3 cannot
 * reach, not with a wider write either. */
#define HL_PORT_EXCEPTION 0x49

/* Where system calls leave.  A SYSCALL whose two bytes are replaced by an OUT
 * to it does so without a detour. */
#define HL_PORT_SYSTEM_CALL 0x4a

#define HL_X86_VECTORS 32

enum hl_perm {
    HL_PERM_READ = 1,
    HL_PERM_WRITE = 2,
    HL_PERM_EXECUTE = 4,
    HL_PERM_BOTH = 8 /* writable and executable on purpose: for the start of
                        a program that is trusted until then */
};

#define HL_X86_REGIONS 32

/* A stretch of guest memory, in whole pages. */
struct hl_x86_region {
    uint64_t addr, size;
    unsigned perms; /* enum hl_perm; always readable */
};

/* Where things are, for the registers. */
struct hl_x86_tables {
    uint64_t cr3, gdt, idt, tss;
    uint64_t gdt_limit, idt_limit, tss_limit;
    uint64_t stack, stack_size; /* of the exception stubs */
    uint64_t entry;             /* code that takes a struct hl_x86_entry */
    uint64_t entry_pkru;        /* the same, and PKRU */
    uint64_t entry_data;        /* where that lies */
    uint64_t rdpkru;            /* an RDPKRU that leaves, the guest's */
    uint64_t system_call;       /* where SYSCALL goes: an undefined
                                   instruction, or a stub; the guest's */
    uint64_t iret;              /* an IRETQ for the supervisor */
    uint64_t end;               /* of the page tables */
};

/* The data that the entry code loads, so that a vCPU's vector state is put
 * back without a system call: the guest starts there, and arrives at `rip`
 * with x87 and vector state, RAX and RDX as given and everything else
 * untouched.  The guest can read and run these pages, but not write to them;
 * they hold only state that the guest gets anyway.  Needs CR4.OSXSAVE.
 *
 * There are two, for guests that can and that cannot change PKRU (SDM vol. 3,
 * 4.6.2).  The one for those that can begins with making all of memory
 * readable; it cannot end in a state that denies itself its last reads. */
#define HL_X86_XCR0 UINT64_C(0xe7) /* x87, SSE, AVX, AVX-512 */
#define HL_X86_ENTRY_CODE 128      /* bytes of code at most, each */
#define HL_X86_PKRU_AD0 1u         /* no access to pages of key 0: to any */
#define HL_X86_XSAVE_SIZE 2688     /* for these: SDM vol. 1, 13.4, 13.5 */

struct hl_x86_entry {
    unsigned char xsave[HL_X86_XSAVE_SIZE];
    uint64_t rax, rcx, rdx, rip; /* RCX and PKRU: entry_pkru only */
    uint64_t pkru;
};

enum {
    HL_X86_KERNEL_CODE = 0x08,
    HL_X86_KERNEL_DATA = 0x10,
    HL_X86_USER_DATA = 0x18 | 3,
    HL_X86_USER_CODE = 0x20 | 3,
    HL_X86_TSS = 0x28,
};

/* Bytes that hl_x86_build needs for these regions, with tables at `addr`. */
size_t hl_x86_tables_size(uint64_t addr, const struct hl_x86_region *regions,
                          size_t count);

/* Build the tables in memory[0..size), zeroed, which the guest has at `addr`.
 * Regions and tables must not overlap and must lie below 2^47; -EINVAL where
 * they do not, or where a region breaks X3. */
int hl_x86_build(void *memory, size_t size, uint64_t addr,
                 const struct hl_x86_region *regions, size_t count,
                 struct hl_x86_tables *tables) HL_MUST_CHECK;

/* In tables that hl_x86_build made and no processor has used: give these
 * stretches, each inside of a region, rights of their own.  -ENOMEM: where
 * they are in large pages, the tables need a page more for 2 MiB. */
int hl_x86_carve(void *memory, size_t size, uint64_t addr,
                 const struct hl_x86_region *finer, size_t count,
                 struct hl_x86_tables *tables) HL_MUST_CHECK;

/* In tables that hl_x86_build made: let SYSCALL and HL_PORT_SYSTEM_CALL leave.
 * The stub may run at CPL 0, on a stack that the guest chose: so nothing may
 * interrupt it there, or only on a stack of the tables. */
void hl_x86_let_system_calls_leave(void *memory, uint64_t addr,
                                   const struct hl_x86_tables *tables);

/* What a stub leaves on its stack. */
struct hl_x86_frame {
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

#endif
