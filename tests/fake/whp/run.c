/* Running: the emulator, and what it says in the words of the hypervisor.  The
 * vCPU is left at the instruction, of which nothing has happened. */
#include <string.h>

#include "fake/whp/inside.h"

#define PAGE_FAULT 14
#define OUT_IMMEDIATE 0xe6
#define OUT_DX 0xee

static uint64_t *reg(struct fake_partition *p, WHV_REGISTER_NAME name)
{
    return &fake_value(p, name)->Reg64;
}

/* Back from behind the OUT to its beginning; its length. */
static unsigned step_back(struct fake_partition *p)
{
    uint64_t *rip = reg(p, WHvX64RegisterRip);
    const uint8_t *code = fake_host(p, *rip - 2, 2);
    bool immediate =
        code && code[0] == OUT_IMMEDIATE && code[1] == HL_PORT_GUEST;
    unsigned length = immediate ? 2 : 1;

    if (!immediate && !(code && code[1] == OUT_DX))
        fake_count(FAKE_VIOLATIONS, 1);
    *rip -= length;
    return length;
}

static void leave_by_port(struct fake_partition *p,
                          WHV_RUN_VP_EXIT_CONTEXT *context, uint16_t port,
                          unsigned length)
{
    WHV_X64_IO_PORT_ACCESS_CONTEXT *io = &context->IoPortAccess;

    context->ExitReason = WHvRunVpExitReasonX64IoPortAccess;
    context->VpContext.InstructionLength = (UINT8)(length & 15);
    io->AccessInfo.IsWrite = 1;
    io->AccessInfo.AccessSize = 1;
    io->PortNumber = port;
    io->Rax = *reg(p, WHvX64RegisterRax);
}

/* As the processor does for an exception at CPL 3, and the stub after it: its
 * frame is on the stub's stack, and the stub is at its OUT. */
static bool deliver(struct fake_partition *p, const struct hl_exit *left,
                    WHV_RUN_VP_EXIT_CONTEXT *context)
{
    const struct hl_x86_tables *t = &p->config.tables;
    const uint64_t rsp = t->stack + t->stack_size - sizeof left->frame;
    void *frame = fake_host(p, rsp, sizeof left->frame);

    if (frame == NULL)
        return false;
    memcpy(frame, &left->frame, sizeof left->frame);
    if (left->frame.vector == PAGE_FAULT)
        *reg(p, WHvX64RegisterCr2) = left->cr2;
    *reg(p, WHvX64RegisterRsp) = rsp;
    *reg(p, WHvX64RegisterRip) = t->iret & ~(uint64_t)(HL_WHP_PAGE - 1);
    leave_by_port(p, context, HL_PORT_EXCEPTION, 2);
    return true;
}

static bool explain(struct fake_partition *p, const struct hl_exit *left,
                    WHV_RUN_VP_EXIT_CONTEXT *context)
{
    switch (left->reason) {
    case HL_EXIT_CALL:
        leave_by_port(p, context, HL_PORT_GUEST, step_back(p));
        return true;
    case HL_EXIT_EXCEPTION:
        if (left->frame.vector != PAGE_FAULT ||
            !fake_is_allowed(p, left->cr2, left->frame.error))
            return deliver(p, left, context);
        context->ExitReason = WHvRunVpExitReasonMemoryAccess;
        context->MemoryAccess.AccessInfo.GpaUnmapped = 1;
        context->MemoryAccess.Gpa = context->MemoryAccess.Gva = left->cr2;
        return true;
    case HL_EXIT_SHUTDOWN:
        context->ExitReason = WHvRunVpExitReasonUnrecoverableException;
        return true;
    default: /* an IN, of which the emulator says no more */
        leave_by_port(p, context, HL_PORT_GUEST, 2);
        context->IoPortAccess.AccessInfo.IsWrite = 0;
        return true;
    }
}

static bool is_cancelled(struct fake_partition *p)
{
    static atomic_long runs;
    const long every = fake_whp_switched(FAKE_SPURIOUS_EVERY);

    return atomic_exchange(&p->cancelled, false) ||
           (every > 0 && atomic_fetch_add(&runs, 1) % every == 0);
}

/* Until it leaves, or is cancelled; the emulator also stops by itself. */
static bool run_engine(struct fake_partition *p, struct hl_exit *left,
                       bool *cancelled)
{
    do {
        *cancelled = is_cancelled(p);
        *left = (struct hl_exit){.reason = HL_EXIT_KICKED};
        if (!*cancelled && p->engine->ops->run(p->engine, left) < 0)
            return false;
    } while (!*cancelled && left->reason == HL_EXIT_KICKED);
    return true;
}

static HRESULT enter(struct fake_partition *p,
                     WHV_RUN_VP_EXIT_CONTEXT *context)
{
    struct hl_exit left;
    bool cancelled;

    if ((*reg(p, WHvX64RegisterRflags) & 2) == 0 || !fake_engine_ready(p)) {
        context->ExitReason = WHvRunVpExitReasonInvalidVpRegisterValue;
        return S_OK;
    }
    if (fake_whp_switched(FAKE_CANCEL_LOST)) {
        Sleep(1); /* long enough for a cancel to come too early */
        atomic_store(&p->cancelled, false);
    }
    fake_watch(p);
    bool ok = fake_engine_load(p) && run_engine(p, &left, &cancelled) &&
              fake_engine_save(p);
    fake_note_writes(p);
    if (!ok)
        return E_FAIL;
    if (cancelled)
        context->ExitReason = WHvRunVpExitReasonCanceled;
    else if (!explain(p, &left, context))
        context->ExitReason = WHvRunVpExitReasonUnrecoverableException;
    return S_OK;
}

static HRESULT run(struct fake_partition *p, WHV_RUN_VP_EXIT_CONTEXT *context)
{
    const long planned = fake_whp_switched(FAKE_EXIT);
    HRESULT result = S_OK;

    if (planned != 0)
        context->ExitReason = (WHV_RUN_VP_EXIT_REASON)planned;
    else
        result = enter(p, context);
    fake_whp_switch(FAKE_EXIT, 0);
    context->VpContext.Rip = *reg(p, WHvX64RegisterRip);
    context->VpContext.Rflags = *reg(p, WHvX64RegisterRflags);
    context->VpContext.Cs = fake_value(p, WHvX64RegisterCs)->Segment;
    return result;
}

HRESULT WINAPI fake_run(WHV_PARTITION_HANDLE handle, UINT32 index,
                        void *buffer, UINT32 size)
{
    WHV_RUN_VP_EXIT_CONTEXT context = {0};

    FAKE_BEGIN(FAKE_RUN);
    struct fake_partition *p = fake_take(handle);
    if (p == NULL)
        return E_INVALIDARG;
    bool ok = p->has_cpu && index == 0 && size == sizeof context;
    HRESULT result = ok ? run(p, &context) : E_INVALIDARG;
    fake_release(p);
    if (!ok)
        fake_count(FAKE_VIOLATIONS, 1);
    else if (!fake_is_lost())
        memcpy(buffer, &context, sizeof context);
    return fake_end(result);
}

/* On any thread, at any moment of the partition's life. */
HRESULT WINAPI fake_cancel(WHV_PARTITION_HANDLE handle, UINT32 index,
                           UINT32 flags)
{
    struct fake_partition *p = handle;

    FAKE_BEGIN(FAKE_CANCEL);
    if (p == NULL || index != 0 || flags != 0) {
        fake_count(FAKE_VIOLATIONS, 1);
        return E_INVALIDARG;
    }
    atomic_store(&p->cancelled, true);
    AcquireSRWLockShared(&p->engine_lock);
    if (p->engine)
        p->engine->ops->kick(p->engine);
    ReleaseSRWLockShared(&p->engine_lock);
    return fake_end(S_OK);
}
