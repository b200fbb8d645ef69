/* How the vCPU of every driver starts, and how it tells of an exception: long
 * mode at CPL 3, on the tables of image/x86.h. */
#ifndef HL_VM_START_H
#define HL_VM_START_H

#include "base.h"
#include "vm/driver.h"

#define HL_START_CR0 UINT64_C(0x80010033) /* PG, WP, NE, ET, MP, PE */
#define HL_START_CR4 UINT64_C(0x620)      /* OSXMMEXCPT, OSFXSR, PAE */
#define HL_CR4_OSXSAVE (UINT64_C(1) << 18)
#define HL_START_EFER UINT64_C(0xd00) /* NXE, LMA, LME; but not SCE */

/* Bits 40 to 55 of their descriptors, without those of the limit. */
#define HL_START_CODE 0xa0fb /* G, L, present, CPL 3, accessed */
#define HL_START_DATA 0xc0f3 /* G, B, present, CPL 3, writable, accessed */

/* SYSCALL, where it leaves: EFER.SCE; the selectors that it loads, those of
 * the supervisor; and the flags that it clears: TF, IF, DF, IOPL, NT, AC. */
#define HL_START_SCE UINT64_C(1)
#define HL_START_STAR ((uint64_t)HL_X86_KERNEL_CODE << 32)
#define HL_START_SFMASK UINT64_C(0x47700)

/* A SYSCALL got to the stub of the tables, or the guest did: put the guest
 * behind the instruction.  Fills in *exit: HL_EXIT_SYSTEM_CALL; or, where no
 * processor could go on there, the exception. */
void hl_vm_read_system_call(struct hl_vm_regs *regs, struct hl_exit *exit);
/* Is RIP in that stub? */
bool hl_vm_is_in_system_call(const struct hl_vm_config *config, uint64_t rip);

/* The type of the TSS's descriptor. */
uint8_t hl_start_tss_type(void);

/* Vector state that this process has, of what guests can be given; 0: a
 * processor or system without XSAVE. */
uint64_t hl_start_xcr0(void);

/* The guest left by a stub for exceptions, with these registers and this CR2.
 * -EFAULT: the stub's stack is not where it was. */
int hl_vm_read_exception(const struct hl_vm_config *config,
                         const struct hl_vm_regs *regs, uint64_t cr2,
                         struct hl_exit *exit) HL_MUST_CHECK;

#endif
