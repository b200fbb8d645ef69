/* Running.
 *
 * A call is three calls of the library: the general registers to the vCPU,
 * WHvRunVirtualProcessor, and back.  What made the guest leave comes with it;
 * the instruction has not been executed then, so a port write is completed by
 * moving RIP behind it, and nothing is ever unfinished. */
#include "vm/start.h"
#include "vm/whp/machine.h"

static int read_exception(struct hl_whp *m, struct hl_exit *exit)
{
    uint64_t cr2;

    int err = hl_whp_get_one(m, WHvX64RegisterCr2, &cr2);
    return err < 0 ? err
                   : hl_vm_read_exception(&m->config, &m->regs, cr2, exit);
}

static int read_port(struct hl_whp *m, const WHV_RUN_VP_EXIT_CONTEXT *context,
                     struct hl_exit *exit)
{
    const WHV_X64_IO_PORT_ACCESS_CONTEXT *io = &context->IoPortAccess;
    unsigned length = context->VpContext.InstructionLength;
    bool simple = io->AccessInfo.IsWrite && length > 0 &&
                  !io->AccessInfo.StringOp && !io->AccessInfo.RepPrefix &&
                  io->AccessInfo.AccessSize == 1;

    if (!simple)
        return 0;
    m->regs.rip = context->VpContext.Rip + length;
    if (io->PortNumber == HL_PORT_EXCEPTION)
        return read_exception(m, exit);
    if (io->PortNumber == HL_PORT_GUEST) {
        exit->reason = HL_EXIT_CALL;
        exit->value = m->regs.gpr[HL_RAX];
    }
    return 0;
}

static int read_context(struct hl_whp *m,
                        const WHV_RUN_VP_EXIT_CONTEXT *context,
                        struct hl_exit *exit)
{
    *exit = (struct hl_exit){.reason = HL_EXIT_UNKNOWN,
                             .value = (uint64_t)context->ExitReason};
    switch (context->ExitReason) {
    case WHvRunVpExitReasonX64IoPortAccess:
        return read_port(m, context, exit);
    case WHvRunVpExitReasonMemoryAccess:
        exit->reason = HL_EXIT_BAD_ACCESS;
        exit->value = context->MemoryAccess.Gpa;
        return 0;
    case WHvRunVpExitReasonUnrecoverableException:
        exit->reason = HL_EXIT_SHUTDOWN;
        return 0;
    case WHvRunVpExitReasonCanceled:
        atomic_store(&m->kicked, false); /* who asked did so before */
        exit->reason = HL_EXIT_KICKED;
        return 0;
    default:
        return 0;
    }
}

static int enter(struct hl_whp *m, WHV_RUN_VP_EXIT_CONTEXT *context)
{
    int err = hl_whp_regs_out(m);
    if (err < 0)
        return err;
    err =
        hl_whp_errno(m->calls->run(m->partition, 0, context, sizeof *context));
    return err < 0 ? err : hl_whp_regs_in(m);
}

int hl_whp_run(struct hl_vm *vm, struct hl_exit *exit)
{
    struct hl_whp *m = hl_whp_of(vm);
    WHV_RUN_VP_EXIT_CONTEXT context = {0};
    int err = 0;

    hl_whp_kick_open(m);
    if (atomic_load(&m->kicked) && atomic_exchange(&m->kicked, false))
        context.ExitReason = WHvRunVpExitReasonCanceled;
    else
        err = enter(m, &context);
    hl_whp_kick_close(m);
    return err < 0 ? err : read_context(m, &context, exit);
}
