/* The state of a vCPU: how it starts, and how it is saved and loaded.
 *
 * All of it is loaded, whatever the guest did: two calls.  General registers
 * go with the next run, so that the host may change them until then. */
#include <string.h>

#include "os/others.h"
#include "vm/start.h"
#include "vm/whp/machine.h"

/* In the order in which they are set: what others depend on comes first. */
static const WHV_REGISTER_NAME names[HL_WHP_REGISTERS] = {
    WHvX64RegisterCs,           WHvX64RegisterDs,
    WHvX64RegisterEs,           WHvX64RegisterFs,
    WHvX64RegisterGs,           WHvX64RegisterSs,
    WHvX64RegisterTr,           WHvX64RegisterLdtr,
    WHvX64RegisterGdtr,         WHvX64RegisterIdtr,
    WHvX64RegisterCr0,          WHvX64RegisterCr2,
    WHvX64RegisterCr3,          WHvX64RegisterCr4,
    WHvX64RegisterEfer,         WHvX64RegisterXCr0,
    WHvX64RegisterDr0,          WHvX64RegisterDr1,
    WHvX64RegisterDr2,          WHvX64RegisterDr3,
    WHvX64RegisterDr6,          WHvX64RegisterDr7,
    WHvX64RegisterKernelGsBase, WHvX64RegisterPat,
    WHvX64RegisterSysenterCs,   WHvX64RegisterSysenterEip,
    WHvX64RegisterSysenterEsp,  WHvX64RegisterStar,
    WHvX64RegisterLstar,        WHvX64RegisterCstar,
    WHvX64RegisterSfmask,       WHvRegisterPendingInterruption,
    WHvRegisterInterruptState,  WHvRegisterPendingEvent,
};

#define GENERAL 18 /* RAX to R15, RIP, RFLAGS: numbered in a row */
_Static_assert(WHvX64RegisterRflags - WHvX64RegisterRax == GENERAL - 1,
               "winhvplatformdefs.h");

static uint64_t *general(const struct hl_vm_regs *regs, size_t i)
{
    const uint64_t *at = i < 16    ? &regs->gpr[i]
                         : i == 16 ? &regs->rip
                                   : &regs->rflags;
    return (uint64_t *)at;
}

static void general_names(WHV_REGISTER_NAME list[GENERAL])
{
    for (size_t i = 0; i < GENERAL; i++)
        list[i] = (WHV_REGISTER_NAME)(WHvX64RegisterRax + i);
}

int hl_whp_regs_out(const struct hl_whp *m)
{
    WHV_REGISTER_NAME list[GENERAL];
    WHV_REGISTER_VALUE values[GENERAL] = {0};

    general_names(list);
    for (size_t i = 0; i < GENERAL; i++)
        values[i].Reg64 = *general(&m->regs, i);
    return hl_whp_errno(m->calls->set(m->partition, 0, list, GENERAL, values));
}

int hl_whp_regs_in(struct hl_whp *m)
{
    WHV_REGISTER_NAME list[GENERAL];
    WHV_REGISTER_VALUE values[GENERAL] = {0};

    general_names(list);
    int err =
        hl_whp_errno(m->calls->get(m->partition, 0, list, GENERAL, values));
    for (size_t i = 0; i < GENERAL && err == 0; i++)
        *general(&m->regs, i) = values[i].Reg64;
    return err;
}

int hl_whp_get_one(const struct hl_whp *m, WHV_REGISTER_NAME name,
                   uint64_t *value)
{
    WHV_REGISTER_VALUE one = {0};

    int err = hl_whp_errno(m->calls->get(m->partition, 0, &name, 1, &one));
    *value = one.Reg64;
    return err;
}

/* Registers in the order in which they are set. */
struct list {
    WHV_REGISTER_NAME names[20];
    WHV_REGISTER_VALUE values[20];
    UINT32 count;
};

static void add(struct list *list, WHV_REGISTER_NAME name,
                WHV_REGISTER_VALUE value)
{
    list->names[list->count] = name;
    list->values[list->count++] = value;
}

static void segment(struct list *list, WHV_REGISTER_NAME name,
                    uint16_t selector, uint16_t attributes, uint64_t base)
{
    add(list, name,
        (WHV_REGISTER_VALUE){.Segment = {.Base = base,
                                         .Limit = UINT32_MAX,
                                         .Selector = selector,
                                         .Attributes = attributes}});
}

static void table(struct list *list, WHV_REGISTER_NAME name, uint64_t base,
                  uint64_t limit)
{
    add(list, name,
        (WHV_REGISTER_VALUE){
            .Table = {.Base = base, .Limit = (uint16_t)limit}});
}

static void word(struct list *list, WHV_REGISTER_NAME name, uint64_t value)
{
    add(list, name, (WHV_REGISTER_VALUE){.Reg64 = value});
}

/* Long mode at CPL 3, on the tables.  LSTAR is for a hypervisor that lets a
 * SYSCALL go there although EFER.SCE is 0: the instruction there reports it.
 */
static HRESULT set_start(const struct hl_whp *m, uint64_t xcr0)
{
    const struct hl_x86_tables *t = &m->config.tables;
    const uint16_t data = HL_X86_USER_DATA;
    struct list list = {.count = 0};

    segment(&list, WHvX64RegisterCs, HL_X86_USER_CODE, HL_START_CODE, 0);
    segment(&list, WHvX64RegisterDs, data, HL_START_DATA, 0);
    segment(&list, WHvX64RegisterEs, data, HL_START_DATA, 0);
    segment(&list, WHvX64RegisterFs, data, HL_START_DATA, m->config.fs_base);
    segment(&list, WHvX64RegisterGs, data, HL_START_DATA, 0);
    segment(&list, WHvX64RegisterSs, data, HL_START_DATA, 0);
    segment(&list, WHvX64RegisterTr, HL_X86_TSS,
            (uint16_t)(0x80 | hl_start_tss_type()), t->tss);
    list.values[list.count - 1].Segment.Limit = (UINT32)t->tss_limit;
    segment(&list, WHvX64RegisterLdtr, 0, 0, 0);
    table(&list, WHvX64RegisterGdtr, t->gdt, t->gdt_limit);
    table(&list, WHvX64RegisterIdtr, t->idt, t->idt_limit);
    word(&list, WHvX64RegisterCr0, HL_START_CR0);
    word(&list, WHvX64RegisterCr3, t->cr3);
    word(&list, WHvX64RegisterCr4, HL_START_CR4 | (xcr0 ? HL_CR4_OSXSAVE : 0));
    word(&list, WHvX64RegisterEfer, HL_START_EFER);
    word(&list, WHvX64RegisterLstar, t->system_call);
    if (xcr0 != 0)
        word(&list, WHvX64RegisterXCr0, xcr0);
    return m->calls->set(m->partition, 0, list.names, list.count, list.values);
}

/* A partition may have less than that: AVX, or nothing beyond SSE. */
static HRESULT start(const struct hl_whp *m)
{
    const uint64_t own = hl_start_xcr0();
    const uint64_t tries[] = {own, own & 7, 0};
    HRESULT result = E_FAIL;

    for (size_t i = 0; i < HL_ARRAY_SIZE(tries) && FAILED(result); i++)
        result = set_start(m, tries[i]);
    return result;
}

/* By the pair that every Windows so far has, or else by what is to replace it.
 */
static HRESULT get_xsave(const struct hl_whp *m, struct hl_whp_state *s)
{
    const struct hl_whp_calls *c = m->calls;

    s->xsave_size = 0;
    if (c->get_xsave && c->set_xsave)
        return c->get_xsave(m->partition, 0, s->xsave, HL_WHP_XSAVE,
                            &s->xsave_size);
    if (c->get_state && c->set_state)
        return c->get_state(m->partition, 0,
                            WHvVirtualProcessorStateTypeXsaveState, s->xsave,
                            HL_WHP_XSAVE, &s->xsave_size);
    return E_NOTIMPL;
}

static HRESULT set_xsave(const struct hl_whp *m, const struct hl_whp_state *s)
{
    const struct hl_whp_calls *c = m->calls;

    if (c->get_xsave && c->set_xsave)
        return c->set_xsave(m->partition, 0, s->xsave, s->xsave_size);
    return c->set_state(m->partition, 0,
                        WHvVirtualProcessorStateTypeXsaveState, s->xsave,
                        s->xsave_size);
}

int hl_whp_set_up_cpu(const struct hl_whp *m, struct hl_whp_step *step)
{
    struct hl_whp_state state;

    int err = hl_whp_note(step, "WHvSetVirtualProcessorRegisters", start(m));
    if (err < 0)
        return err;
    return hl_whp_note(step, "WHvGetVirtualProcessorXsaveState",
                       get_xsave(m, &state));
}

int hl_whp_save(struct hl_vm *vm, void *state)
{
    struct hl_whp *m = hl_whp_of(vm);
    struct hl_whp_state *s = state;
    WHV_REGISTER_VALUE values[HL_WHP_REGISTERS] = {0};

    hl_spend(2 * HL_COST_CALL);
    int err = hl_whp_errno(
        m->calls->get(m->partition, 0, names, HL_WHP_REGISTERS, values));
    if (err < 0)
        return err;
    memset(s->xsave, 0, sizeof s->xsave);
    err = hl_whp_errno(get_xsave(m, s));
    if (err < 0)
        return err;
    s->regs = m->regs;
    memcpy(s->values, values, sizeof values);
    return 0;
}

int hl_whp_load(struct hl_vm *vm, const void *state)
{
    struct hl_whp *m = hl_whp_of(vm);
    const struct hl_whp_state *s = state;
    WHV_REGISTER_VALUE values[HL_WHP_REGISTERS];

    hl_spend(2 * HL_COST_CALL);
    memcpy(values, s->values, sizeof values);
    int err = hl_whp_errno(
        m->calls->set(m->partition, 0, names, HL_WHP_REGISTERS, values));
    if (err == 0)
        err = hl_whp_errno(set_xsave(m, s));
    if (err == 0)
        m->regs = s->regs;
    return err;
}
