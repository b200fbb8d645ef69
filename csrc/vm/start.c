#include "vm/start.h"

#include <cpuid.h>
#include <string.h>

#include "vm/slots.h"

#define SYSCALL_SIZE 2 /* 0f 05 */
#define VECTOR_PROTECTION 13

/* Intel's processors enter a guest with a busy TSS only (SDM vol. 3,
 * 26.3.1.2).  AMD's take any, but emulations of theirs look for the I/O bitmap
 * in an available one only. */
uint8_t hl_start_tss_type(void)
{
    static _Atomic uint8_t known; /* below a hypervisor CPUID takes long */
    unsigned eax, ebx, ecx, edx;
    uint8_t type = known;

    if (type == 0) {
        bool intel = __get_cpuid(0, &eax, &ebx, &ecx, &edx) &&
                     ebx == signature_INTEL_ebx;
        known = type = intel ? 0xb : 0x9;
    }
    return type;
}

/* CF, PF, AF, ZF, SF, TF, DF, OF, NT, AC, ID: what CPL 3 may set; and the one
 * that is always set. */
#define FLAGS_OF_GUEST UINT64_C(0x244dd5)
#define FLAGS_FIXED UINT64_C(2)

#define STUB_SIZE 3 /* an OUT, behind which RIP may be, and a HLT */

bool hl_vm_is_in_system_call(const struct hl_vm_config *config, uint64_t rip)
{
    return rip - config->tables.system_call < STUB_SIZE;
}

void hl_vm_read_system_call(struct hl_vm_regs *regs, struct hl_exit *exit)
{
    const uint64_t to = regs->gpr[HL_RCX];
    const bool canonical = (to + ((uint64_t)1 << 47)) >> 48 == 0;

    if (!canonical) { /* as an IRET to there would say */
        *exit = (struct hl_exit){
            .reason = HL_EXIT_EXCEPTION,
            .frame = {.vector = VECTOR_PROTECTION,
                      .rip = regs->rip,
                      .cs = HL_X86_USER_CODE,
                      .rflags = regs->rflags,
                      .rsp = regs->gpr[HL_RSP],
                      .ss = HL_X86_USER_DATA},
        };
        return;
    }
    regs->rip = to;
    regs->rflags = (regs->gpr[HL_R11] & FLAGS_OF_GUEST) | FLAGS_FIXED;
    *exit = (struct hl_exit){.reason = HL_EXIT_SYSTEM_CALL,
                             .value = to - SYSCALL_SIZE};
}

uint64_t hl_start_xcr0(void)
{
    unsigned eax, ebx, ecx, edx;

    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (((uint64_t)edx << 32) | eax) & HL_X86_XCR0;
}

int hl_vm_read_exception(const struct hl_vm_config *config,
                         const struct hl_vm_regs *regs, uint64_t cr2,
                         struct hl_exit *exit)
{
    const void *frame =
        hl_vm_host(config, regs->gpr[HL_RSP], sizeof exit->frame);

    exit->reason = HL_EXIT_EXCEPTION;
    exit->cr2 = cr2;
    if (frame == NULL)
        return -EFAULT;
    memcpy(&exit->frame, frame, sizeof exit->frame);
    /* SYSCALL kept the address behind it in RCX. */
    if (!config->system_calls && exit->frame.rip == config->tables.system_call)
        exit->frame.rip = regs->gpr[HL_RCX] - SYSCALL_SIZE;
    return 0;
}
