/* Registers by Hyper-V's names, which KVM moves in groups, and MSRs. */
#include <cpuid.h>
#include <string.h>

#include "fake/mshv/kvm.h"

_Static_assert(KVM_SET_MSRS == 0x4008ae89, "linux/kvm.h");
_Static_assert(KVM_GET_XSAVE == 0x9000aea4, "linux/kvm.h");

#define XSTATE_BV 512 /* of the XSAVE area: what is not in its first state */
#define XSAVE_PKRU 9  /* subleaf of CPUID 0xd, and state component */

/* Which requests move a group, and to where. */
static const struct group {
    unsigned bit;
    unsigned long get, set;
    size_t at;
} groups[] = {
    {FAKE_SREGS, KVM_GET_SREGS, KVM_SET_SREGS,
     offsetof(struct fake_cpu, sregs)},
    {FAKE_REGS, KVM_GET_REGS, KVM_SET_REGS, offsetof(struct fake_cpu, regs)},
    {FAKE_XCRS, KVM_GET_XCRS, KVM_SET_XCRS, offsetof(struct fake_cpu, xcrs)},
    {FAKE_DEBUG, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
     offsetof(struct fake_cpu, debug)},
    {FAKE_EVENTS, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
     offsetof(struct fake_cpu, events)},
};

/* Registers of 64 bits: where, and in which group they are. */
static const struct plain {
    uint32_t name;
    unsigned group;
    size_t at;
} plains[] = {
#define REG(name, field)                                                      \
    {name, FAKE_REGS, offsetof(struct fake_cpu, regs.field)}
#define SREG(name, field)                                                     \
    {name, FAKE_SREGS, offsetof(struct fake_cpu, sregs.field)}
#define DEBUG(name, field)                                                    \
    {name, FAKE_DEBUG, offsetof(struct fake_cpu, debug.field)}
    REG(HL_HV_RAX, rax),
    REG(HL_HV_RAX + 1, rcx),
    REG(HL_HV_RAX + 2, rdx),
    REG(HL_HV_RAX + 3, rbx),
    REG(HL_HV_RAX + 4, rsp),
    REG(HL_HV_RAX + 5, rbp),
    REG(HL_HV_RAX + 6, rsi),
    REG(HL_HV_RAX + 7, rdi),
    REG(HL_HV_RAX + 8, r8),
    REG(HL_HV_RAX + 9, r9),
    REG(HL_HV_RAX + 10, r10),
    REG(HL_HV_RAX + 11, r11),
    REG(HL_HV_RAX + 12, r12),
    REG(HL_HV_RAX + 13, r13),
    REG(HL_HV_RAX + 14, r14),
    REG(HL_HV_RAX + 15, r15),
    REG(HL_HV_RIP, rip),
    REG(HL_HV_RFLAGS, rflags),
    SREG(HL_HV_CR0, cr0),
    SREG(HL_HV_CR2, cr2),
    SREG(HL_HV_CR3, cr3),
    SREG(HL_HV_CR4, cr4),
    SREG(HL_HV_EFER, efer),
    DEBUG(HL_HV_DR0, db[0]),
    DEBUG(HL_HV_DR1, db[1]),
    DEBUG(HL_HV_DR2, db[2]),
    DEBUG(HL_HV_DR3, db[3]),
    DEBUG(HL_HV_DR6, dr6),
    DEBUG(HL_HV_DR7, dr7),
    {HL_HV_XFEM, FAKE_XCRS, offsetof(struct fake_cpu, xcrs.xcrs[0].value)},
};

static const struct {
    uint32_t name;
    size_t at;
} segments[] = {
#define SEGMENT(name, field) {name, offsetof(struct fake_cpu, sregs.field)}
    SEGMENT(HL_HV_ES, es),    SEGMENT(HL_HV_CS, cs), SEGMENT(HL_HV_SS, ss),
    SEGMENT(HL_HV_DS, ds),    SEGMENT(HL_HV_FS, fs), SEGMENT(HL_HV_GS, gs),
    SEGMENT(HL_HV_LDTR, ldt), SEGMENT(HL_HV_TR, tr), SEGMENT(HL_HV_IDTR, idt),
    SEGMENT(HL_HV_GDTR, gdt),
};

static const struct {
    uint32_t name, index;
} msrs[] = {
    {HL_HV_KERNEL_GS_BASE, 0xc0000102}, {HL_HV_PAT, 0x277},
    {HL_HV_SYSENTER_CS, 0x174},         {HL_HV_SYSENTER_EIP, 0x176},
    {HL_HV_SYSENTER_ESP, 0x175},        {HL_HV_STAR, 0xc0000081},
    {HL_HV_LSTAR, 0xc0000082},          {HL_HV_CSTAR, 0xc0000083},
    {HL_HV_SFMASK, 0xc0000084},         {HL_HV_TSC_AUX, 0xc0000103},
};

/* Intel's processors want a busy TSS, as Hyper-V does.  An emulation of AMD's
 * looks for the I/O bitmap in an available one only. */
static uint8_t tss_type(void)
{
    static _Atomic uint8_t known;
    unsigned eax, ebx, ecx, edx;

    if (known == 0)
        known = __get_cpuid(0, &eax, &ebx, &ecx, &edx) &&
                        ebx == signature_INTEL_ebx
                    ? 0xb
                    : 0x9;
    return known;
}

int fake_cpu_know(struct fake_cpu *cpu, unsigned wanted)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(groups); i++) {
        const struct group *g = &groups[i];
        if (!(wanted & ~cpu->known & g->bit))
            continue;
        if (ioctl(cpu->fd, g->get, (char *)cpu + g->at) < 0)
            return -errno;
        cpu->known |= g->bit;
        if (g->bit == FAKE_SREGS && cpu->sregs.tr.present)
            cpu->sregs.tr.type = tss_type(); /* KVM always says busy */
    }
    return 0;
}

/* All that was refused is as if it had not been set. */
int fake_cpu_commit(struct fake_cpu *cpu)
{
    int err = 0;

    for (size_t i = 0; i < HL_ARRAY_SIZE(groups) && err == 0; i++) {
        const struct group *g = &groups[i];
        if (cpu->changed & g->bit &&
            ioctl(cpu->fd, g->set, (char *)cpu + g->at) < 0)
            err = -errno;
        else
            cpu->changed &= ~g->bit;
    }
    cpu->known &= ~cpu->changed;
    cpu->changed = 0;
    return err;
}

static struct kvm_segment to_kvm(const struct hl_hv_segment *s, bool is_tr)
{
    unsigned a = s->attributes;
    struct kvm_segment k = {
        .base = s->base,
        .limit = s->limit,
        .selector = s->selector,
        .type = a & 15,
        .s = a >> 4 & 1,
        .dpl = a >> 5 & 3,
        .present = a >> 7 & 1,
        .avl = a >> 12 & 1,
        .l = a >> 13 & 1,
        .db = a >> 14 & 1,
        .g = a >> 15 & 1,
        .unusable = !(a >> 7 & 1),
    };

    if (is_tr && k.present)
        k.type = tss_type();
    return k;
}

static struct hl_hv_segment from_kvm(const struct kvm_segment *k, bool is_tr)
{
    unsigned present = k->present && !k->unusable;
    unsigned type = is_tr && present ? 0xb : k->type;

    return (struct hl_hv_segment){
        .base = k->base,
        .limit = k->limit,
        .selector = k->selector,
        .attributes =
            (uint16_t)(type | (unsigned)k->s << 4 | (unsigned)k->dpl << 5 |
                       present << 7 | (unsigned)k->avl << 12 |
                       (unsigned)k->l << 13 | (unsigned)k->db << 14 |
                       (unsigned)k->g << 15),
    };
}

static bool is_table(uint32_t name)
{
    return name == HL_HV_IDTR || name == HL_HV_GDTR;
}

static void move_segment(struct fake_cpu *cpu, uint32_t name, size_t at,
                         union hl_hv_value *get, const union hl_hv_value *set)
{
    struct kvm_segment *k = (struct kvm_segment *)(void *)((char *)cpu + at);
    struct kvm_dtable *t = (struct kvm_dtable *)(void *)((char *)cpu + at);

    if (get && is_table(name))
        get->table = (struct hl_hv_table){.base = t->base, .limit = t->limit};
    else if (get)
        get->segment = from_kvm(k, name == HL_HV_TR);
    else if (is_table(name))
        *t = (struct kvm_dtable){.base = set->table.base,
                                 .limit = set->table.limit};
    else
        *k = to_kvm(&set->segment, name == HL_HV_TR);
}

static int move_msr(struct fake_cpu *cpu, uint32_t index,
                    union hl_hv_value *get, const union hl_hv_value *set)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } one = {.head.nmsrs = 1, .entry = {.index = index}};

    if (set)
        one.entry.data = set->u64[0];
    int done = ioctl(cpu->fd, get ? KVM_GET_MSRS : KVM_SET_MSRS, &one);
    if (done < 0)
        return -errno;
    if (get && done == 1)
        get->u64[0] = one.entry.data;
    return done == 1 ? 0 : -EINVAL;
}

/* An interruption, which is under way: bit 0, type in 1 to 3 (0 external, 2
 * NMI, 3 exception, 4 software), 4 has an error code, vector in 16 to 31, the
 * code in 32 to 63. */
static uint64_t interruption(const struct kvm_vcpu_events *e)
{
    if (e->exception.injected)
        return 1 | 3 << 1 | (uint64_t)(e->exception.has_error_code != 0) << 4 |
               (uint64_t)e->exception.nr << 16 |
               (uint64_t)e->exception.error_code << 32;
    if (e->nmi.injected)
        return 1 | 2 << 1 | 2 << 16;
    if (e->interrupt.injected)
        return 1 | (e->interrupt.soft ? UINT64_C(4) : 0) << 1 |
               (uint64_t)e->interrupt.nr << 16;
    return 0;
}

static void interrupt(struct kvm_vcpu_events *e, uint64_t value)
{
    unsigned type = value >> 1 & 7;
    bool pending = value & 1;

    e->exception.injected = pending && type == 3;
    e->exception.nr = e->exception.injected ? (uint8_t)(value >> 16) : 0;
    e->exception.has_error_code = e->exception.injected && value >> 4 & 1;
    e->exception.error_code =
        e->exception.has_error_code ? (uint32_t)(value >> 32) : 0;
    e->nmi.injected = pending && type == 2;
    e->interrupt.injected = pending && (type == 0 || type == 4);
    e->interrupt.nr = e->interrupt.injected ? (uint8_t)(value >> 16) : 0;
    e->interrupt.soft = pending && type == 4;
}

/* An event that is about to be: bit 0, type 0 (an exception) in 1 to 3, 8 has
 * an error code, vector in 16 to 31, the code in 32 to 63.  KVM, as it is used
 * here, makes no difference between that and one under way. */
static int set_event(struct kvm_vcpu_events *e, const union hl_hv_value *value)
{
    uint64_t bits = value->u64[0];

    if (!(bits & 1))
        return 0;
    if (bits >> 1 & 7)
        return -EINVAL;
    interrupt(e,
              (bits & ~UINT64_C(0xffff)) | 1 | 3 << 1 | (bits >> 8 & 1) << 4);
    return 0;
}

static int move_event(struct fake_cpu *cpu, uint32_t name,
                      union hl_hv_value *get, const union hl_hv_value *set)
{
    struct kvm_vcpu_events *e = &cpu->events;
    int err = fake_cpu_know(cpu, FAKE_EVENTS);

    if (err < 0)
        return err;
    if (set) {
        cpu->changed |= FAKE_EVENTS;
        e->flags = KVM_VCPUEVENT_VALID_SHADOW;
    }
    if (name == HL_HV_PENDING_EVENT0)
        return set ? set_event(e, set) : 0;
    if (name == HL_HV_PENDING_INTERRUPTION && set)
        interrupt(e, set->u64[0]);
    else if (name == HL_HV_PENDING_INTERRUPTION)
        get->u64[0] = interruption(e);
    else if (set)
        e->interrupt.shadow = set->u64[0] & 1 ? 3 : 0;
    else
        get->u64[0] = e->interrupt.shadow != 0;
    if (name == HL_HV_INTERRUPT_STATE && set)
        e->nmi.masked = set->u64[0] >> 1 & 1;
    else if (name == HL_HV_INTERRUPT_STATE)
        get->u64[0] |= (uint64_t)(e->nmi.masked != 0) << 1;
    return 0;
}

/* One register: to *get, or from *set. */
static int move(struct fake_cpu *cpu, uint32_t name, union hl_hv_value *get,
                const union hl_hv_value *set)
{
    int err;

    if (name == HL_HV_PENDING_INTERRUPTION || name == HL_HV_INTERRUPT_STATE ||
        name == HL_HV_PENDING_EVENT0)
        return move_event(cpu, name, get, set);
    for (size_t i = 0; i < HL_ARRAY_SIZE(msrs); i++)
        if (msrs[i].name == name)
            return move_msr(cpu, msrs[i].index, get, set);
    for (size_t i = 0; i < HL_ARRAY_SIZE(segments); i++)
        if (segments[i].name == name) {
            err = fake_cpu_know(cpu, FAKE_SREGS);
            if (err == 0)
                move_segment(cpu, name, segments[i].at, get, set);
            cpu->changed |= set && err == 0 ? FAKE_SREGS : 0;
            return err;
        }
    for (size_t i = 0; i < HL_ARRAY_SIZE(plains); i++)
        if (plains[i].name == name) {
            char *at = (char *)cpu + plains[i].at;
            err = fake_cpu_know(cpu, plains[i].group);
            if (err == 0 && get)
                memcpy(&get->u64[0], at, 8);
            else if (err == 0)
                memcpy(at, &set->u64[0], 8);
            cpu->changed |= set && err == 0 ? plains[i].group : 0;
            return err;
        }
    return -EINVAL;
}

int fake_cpu_get(struct fake_cpu *cpu, uint32_t name, union hl_hv_value *value)
{
    memset(value, 0, sizeof *value);
    return move(cpu, name, value, NULL);
}

int fake_cpu_set(struct fake_cpu *cpu, uint32_t name,
                 const union hl_hv_value *value)
{
    return move(cpu, name, NULL, value);
}

size_t fake_cpu_xsave_size(void)
{
    unsigned eax, ebx = 0, ecx = 0, edx;

    __cpuid_count(0xd, 0, eax, ebx, ecx, edx);
    return ecx >= 576 && ecx <= sizeof(struct kvm_xsave)
               ? ecx
               : sizeof(struct kvm_xsave);
}

int fake_cpu_get_xsave(struct fake_cpu *cpu, void *area)
{
    return ioctl(cpu->fd, KVM_GET_XSAVE, area) < 0 ? -errno : 0;
}

/* KVM leaves PKRU alone where its component is said to be in its first state;
 * a processor does not. */
int fake_cpu_set_xsave(struct fake_cpu *cpu, const void *area)
{
    struct kvm_xsave copy;
    char *bytes = (char *)&copy;
    unsigned eax, ebx, ecx, edx;
    uint64_t components, all;

    memcpy(&copy, area, sizeof copy);
    memcpy(&components, bytes + XSTATE_BV, 8);
    all = components | UINT64_C(1) << XSAVE_PKRU;
    __cpuid_count(0xd, XSAVE_PKRU, eax, ebx, ecx, edx);
    if (all != components && eax >= 4 && ebx + 4 <= sizeof copy) {
        memset(bytes + ebx, 0, 4);
        memcpy(bytes + XSTATE_BV, &all, 8);
        if (ioctl(cpu->fd, KVM_SET_XSAVE, &copy) == 0)
            return 0;
        memcpy(bytes + XSTATE_BV, &components, 8);
    }
    return ioctl(cpu->fd, KVM_SET_XSAVE, &copy) < 0 ? -errno : 0;
}
