/* The state of a vCPU: how it starts, and how it is saved and loaded.
 *
 * All of it is loaded, whatever the guest did: two calls.  General registers
 * go with the next run, so that the host may change them until then. */
#include <string.h>

#include "os/others.h"
#include "vm/mshv/machine.h"
#include "vm/start.h"

/* In the order in which they are set: what others depend on comes first.
 * SYSENTER_ESP is left alone: see files.c. */
static const uint32_t names[HL_MSHV_REGISTERS] = {
    HL_HV_CS,
    HL_HV_DS,
    HL_HV_ES,
    HL_HV_FS,
    HL_HV_GS,
    HL_HV_SS,
    HL_HV_TR,
    HL_HV_LDTR,
    HL_HV_GDTR,
    HL_HV_IDTR,
    HL_HV_CR0,
    HL_HV_CR2,
    HL_HV_CR3,
    HL_HV_CR4,
    HL_HV_EFER,
    HL_HV_XFEM,
    HL_HV_DR0,
    HL_HV_DR1,
    HL_HV_DR2,
    HL_HV_DR3,
    HL_HV_DR6,
    HL_HV_DR7,
    HL_HV_KERNEL_GS_BASE,
    HL_HV_PAT,
    HL_HV_SYSENTER_CS,
    HL_HV_SYSENTER_EIP,
    HL_HV_STAR,
    HL_HV_LSTAR,
    HL_HV_CSTAR,
    HL_HV_SFMASK,
    HL_HV_TSC_AUX,
    HL_HV_PENDING_INTERRUPTION,
    HL_HV_INTERRUPT_STATE,
    HL_HV_PENDING_EVENT0,
};

#define GENERAL 18 /* RAX to R15, RIP, RFLAGS: numbered in a row */

static uint64_t *general(const struct hl_vm_regs *regs, size_t i)
{
    const uint64_t *at = i < 16    ? &regs->gpr[i]
                         : i == 16 ? &regs->rip
                                   : &regs->rflags;
    return (uint64_t *)at;
}

int hl_mshv_regs_out(const struct hl_mshv *m)
{
    struct hl_hv_register list[GENERAL] = {0};

    for (size_t i = 0; i < GENERAL; i++) {
        list[i].name = HL_HV_RAX + (uint32_t)i;
        list[i].value.u64[0] = *general(&m->regs, i);
    }
    return m->interface->set(m, list, GENERAL);
}

int hl_mshv_regs_in(struct hl_mshv *m)
{
    struct hl_hv_register list[GENERAL] = {0};

    for (size_t i = 0; i < GENERAL; i++)
        list[i].name = HL_HV_RAX + (uint32_t)i;
    int err = m->interface->get(m, list, GENERAL);
    for (size_t i = 0; i < GENERAL && err == 0; i++)
        *general(&m->regs, i) = list[i].value.u64[0];
    return err;
}

int hl_mshv_get_one(const struct hl_mshv *m, uint32_t name, uint64_t *value)
{
    struct hl_hv_register one = {.name = name};

    int err = m->interface->get(m, &one, 1);
    *value = one.value.u64[0];
    return err;
}

static struct hl_hv_register segment(uint32_t name, uint16_t selector,
                                     uint16_t attributes, uint64_t base)
{
    return (struct hl_hv_register){
        .name = name,
        .value.segment = {.base = base,
                          .limit = UINT32_MAX,
                          .selector = selector,
                          .attributes = attributes},
    };
}

static struct hl_hv_register table(uint32_t name, uint64_t base,
                                   uint64_t limit)
{
    return (struct hl_hv_register){
        .name = name,
        .value.table = {.base = base, .limit = (uint16_t)limit},
    };
}

static struct hl_hv_register word(uint32_t name, uint64_t value)
{
    return (struct hl_hv_register){.name = name, .value.u64 = {value}};
}

/* Long mode at CPL 3, on the tables.  LSTAR is for a hypervisor that lets a
 * SYSCALL go there although EFER.SCE is 0: the instruction there reports it.
 */
static int set_start(const struct hl_mshv *m, uint64_t xcr0)
{
    const struct hl_x86_tables *t = &m->config.tables;
    struct hl_hv_register tss =
        segment(HL_HV_TR, HL_X86_TSS, 0x80 | hl_start_tss_type(), t->tss);
    tss.value.segment.limit = (uint32_t)t->tss_limit;
    const uint16_t data = HL_X86_USER_DATA;
    const struct hl_hv_register list[] = {
        segment(HL_HV_CS, HL_X86_USER_CODE, HL_START_CODE, 0),
        segment(HL_HV_DS, data, HL_START_DATA, 0),
        segment(HL_HV_ES, data, HL_START_DATA, 0),
        segment(HL_HV_FS, data, HL_START_DATA, m->config.fs_base),
        segment(HL_HV_GS, data, HL_START_DATA, 0),
        segment(HL_HV_SS, data, HL_START_DATA, 0),
        tss,
        segment(HL_HV_LDTR, 0, 0, 0),
        table(HL_HV_GDTR, t->gdt, t->gdt_limit),
        table(HL_HV_IDTR, t->idt, t->idt_limit),
        word(HL_HV_CR0, HL_START_CR0),
        word(HL_HV_CR3, t->cr3),
        word(HL_HV_CR4, HL_START_CR4 | (xcr0 ? HL_CR4_OSXSAVE : 0)),
        word(HL_HV_EFER,
             HL_START_EFER | (m->config.system_calls ? HL_START_SCE : 0)),
        word(HL_HV_STAR, HL_START_STAR),
        word(HL_HV_LSTAR, t->system_call),
        word(HL_HV_SFMASK, HL_START_SFMASK),
        word(HL_HV_XFEM, xcr0),
    };

    return m->interface->set(m, list, HL_ARRAY_SIZE(list) - (xcr0 == 0));
}

int hl_mshv_leave_supervisor(const struct hl_mshv *m)
{
    const struct hl_hv_register list[] = {
        segment(HL_HV_CS, HL_X86_USER_CODE, HL_START_CODE, 0),
        segment(HL_HV_SS, HL_X86_USER_DATA, HL_START_DATA, 0),
    };

    return m->interface->set(m, list, HL_ARRAY_SIZE(list));
}

int hl_mshv_set_thread(struct hl_vm *vm, uint64_t base)
{
    const struct hl_mshv *m = hl_mshv_of(vm);
    const struct hl_hv_register fs =
        segment(HL_HV_FS, HL_X86_USER_DATA, HL_START_DATA, base);

    return m->interface->set(m, &fs, 1);
}

/* A partition may have less than that: AVX, or nothing beyond SSE. */
static int start(const struct hl_mshv *m)
{
    const uint64_t own = hl_start_xcr0();
    const uint64_t tries[] = {own, own & 7, 0};
    int err = -EINVAL;

    for (size_t i = 0; i < HL_ARRAY_SIZE(tries) && err == -EINVAL; i++)
        err = set_start(m, tries[i]);
    return err;
}

static int move_xsave(const struct hl_mshv *m, unsigned long request)
{
    struct hl_mshv_vp_state state = {
        .type = HL_MSHV_STATE_XSAVE,
        .size = HL_MSHV_XSAVE,
        .buffer = (uintptr_t)m->xsave,
    };

    return hl_mshv_ioctl(m->calls, m->cpu_fd, request, &state);
}

int hl_mshv_set_up_cpu(struct hl_mshv *m, const char **what)
{
    *what = "setting registers";
    int err = start(m);
    if (err < 0)
        return err;
    *what = "MSHV_GET_VP_STATE";
    return move_xsave(m, m->interface->get_state);
}

int hl_mshv_save(struct hl_vm *vm, void *state)
{
    struct hl_mshv *m = hl_mshv_of(vm);
    struct hl_mshv_state *s = state;
    struct hl_hv_register list[HL_MSHV_REGISTERS] = {0};

    hl_spend(2 * HL_COST_CALL);
    for (size_t i = 0; i < HL_MSHV_REGISTERS; i++)
        list[i].name = names[i];
    int err = m->interface->get(m, list, HL_MSHV_REGISTERS);
    if (err < 0)
        return err;
    memset(m->xsave, 0, HL_MSHV_XSAVE);
    err = move_xsave(m, m->interface->get_state);
    if (err < 0)
        return err;
    s->regs = m->regs;
    for (size_t i = 0; i < HL_MSHV_REGISTERS; i++)
        s->values[i] = list[i].value;
    memcpy(s->xsave, m->xsave, sizeof s->xsave);
    return 0;
}

int hl_mshv_load(struct hl_vm *vm, const void *state)
{
    struct hl_mshv *m = hl_mshv_of(vm);
    const struct hl_mshv_state *s = state;
    struct hl_hv_register list[HL_MSHV_REGISTERS] = {0};

    hl_spend(2 * HL_COST_CALL);
    for (size_t i = 0; i < HL_MSHV_REGISTERS; i++) {
        list[i].name = names[i];
        list[i].value = s->values[i];
    }
    int err = m->interface->set(m, list, HL_MSHV_REGISTERS);
    if (err < 0)
        return err;
    memcpy(m->xsave, s->xsave, HL_MSHV_XSAVE);
    err = move_xsave(m, m->interface->set_state);
    if (err < 0)
        return err;
    m->regs = s->regs;
    return 0;
}
