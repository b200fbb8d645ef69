/* How a guest leaves the emulator. */
#include <stdio.h>

#include "vm/emulator/machine.h"

void hl_emulator_leave(struct hl_emulator *e, enum hl_exit_reason reason,
                       uint64_t value)
{
    if (!e->left)
        e->exit = (struct hl_exit){.reason = reason, .value = value};
    e->left = true;
    (void)e->uc->emu_stop(e->engine);
}

void hl_emulator_leave_by_exception(struct hl_emulator *e, uint64_t vector,
                                    uint64_t error, uint64_t cr2)
{
    if (e->left)
        return;
    hl_emulator_leave(e, HL_EXIT_EXCEPTION, 0);
    e->exit.cr2 = cr2;
    e->exit.frame = (struct hl_x86_frame){
        .vector = vector,
        .error = error,
        .rip = hl_emulator_reg(e, HL_UC_RIP),
        .cs = HL_X86_USER_CODE,
        .rflags = hl_emulator_reg(e, HL_UC_EFLAGS),
        .rsp = hl_emulator_reg(e, hl_emulator_gpr(HL_RSP)),
        .ss = HL_X86_USER_DATA,
    };
}

void hl_emulator_leave_by_fault(struct hl_emulator *e, uint64_t addr)
{
    bool canonical = (addr + ((uint64_t)1 << 47)) >> 48 == 0;

    if (canonical)
        hl_emulator_leave_by_exception(e, HL_VECTOR_PAGE_FAULT,
                                       e->refused_error, addr);
    else
        hl_emulator_leave_by_exception(e, HL_VECTOR_PROTECTION, 0, 0);
}

void hl_emulator_refuse(struct hl_emulator *e, const char *why)
{
    if (e->left)
        return;
    hl_emulator_leave_by_exception(e, HL_VECTOR_UNDEFINED, 0, 0);
    (void)snprintf(e->exit.detail, sizeof e->exit.detail, "%s", why);
}
