#include "vm/start.h"

#include <cpuid.h>
#include <string.h>

#include "vm/slots.h"

#define SYSCALL_SIZE 2 /* 0f 05 */

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
    if (exit->frame.rip == config->tables.system_call)
        exit->frame.rip = regs->gpr[HL_RCX] - SYSCALL_SIZE;
    return 0;
}
