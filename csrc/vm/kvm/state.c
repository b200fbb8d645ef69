/* The state of a vCPU: how it starts, and how it is saved and loaded.
 *
 * A restore after a plain call costs no system call.  General and system
 * registers go with the next KVM_RUN (KVM_CAP_SYNC_REGS); x87, SSE and AVX
 * state is loaded by the guest's own first instruction, at the entry code of
 * image/x86.h; everything else cannot have changed at CPL 3.  After any other
 * exit all of it is loaded. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm/machine.h"
#include "vm/slots.h"
#include "vm/start.h"

/* All end in a flexible array, whose size C++ counts and C does not. */
_Static_assert(KVM_SET_CPUID2 == 0x4008ae90, "linux/kvm.h");
_Static_assert(KVM_SET_MSRS == 0x4008ae89, "linux/kvm.h");
_Static_assert(KVM_GET_XSAVE == 0x9000aea4, "linux/kvm.h");

#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define XSTATE_BV 512 /* of the XSAVE area: what is not in its first state */

static int set_cpuid(struct hl_kvm *k, int kvm_fd)
{
    const struct hl_kvm_cpuid *cpuid = hl_kvm_cpuid(kvm_fd);

    if (cpuid == NULL)
        return -errno;
    k->xcr0 = cpuid->xcr0;
    k->pkru_at = cpuid->pkru_at;
    return ioctl(k->cpu_fd, KVM_SET_CPUID2, cpuid->list) < 0 ? -errno : 0;
}

static struct kvm_segment segment(uint16_t selector, uint8_t type, bool code)
{
    return (struct kvm_segment){
        .limit = UINT32_MAX,
        .selector = selector,
        .type = type,
        .present = 1,
        .dpl = 3,
        .db = !code,
        .s = 1,
        .l = code,
        .g = 1,
    };
}

/* Long mode at CPL 3, on the tables. */
static int set_sregs(struct hl_kvm *k)
{
    const struct hl_x86_tables *t = &k->config.tables;
    struct kvm_sregs s;
    if (ioctl(k->cpu_fd, KVM_GET_SREGS, &s) < 0)
        return -errno;

    s.cs = segment(HL_X86_USER_CODE, 0xb, true);
    s.ds = s.es = s.ss = s.fs = s.gs = segment(HL_X86_USER_DATA, 0x3, false);
    s.fs.base = k->config.fs_base;
    s.tr = (struct kvm_segment){
        .base = t->tss,
        .limit = (uint32_t)t->tss_limit,
        .selector = HL_X86_TSS,
        .type = hl_start_tss_type(),
        .present = 1,
    };
    s.ldt = (struct kvm_segment){.unusable = 1};
    s.gdt =
        (struct kvm_dtable){.base = t->gdt, .limit = (uint16_t)t->gdt_limit};
    s.idt =
        (struct kvm_dtable){.base = t->idt, .limit = (uint16_t)t->idt_limit};
    s.cr0 = HL_START_CR0;
    s.cr3 = t->cr3;
    s.cr4 = HL_START_CR4 | (k->has_xcrs ? HL_CR4_OSXSAVE : 0);
    s.efer = HL_START_EFER | (k->config.system_calls ? HL_START_SCE : 0);
    return ioctl(k->cpu_fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

/* All that the entry code can load.  A KVM without hardware help gives guests
 * what the host has, whatever is said here: less would be left behind. */
static int set_xcr0(const struct hl_kvm *k)
{
    struct kvm_xcrs xcrs = {
        .nr_xcrs = 1,
        .xcrs[0] = {.xcr = 0, .value = k->xcr0},
    };

    if (!k->has_xcrs)
        return 0;
    return ioctl(k->cpu_fd, KVM_SET_XCRS, &xcrs) < 0 ? -errno : 0;
}

/* Those that instructions for user programs use, and PAT: none of them is
 * within a guest's reach as it is set up here. */
static const uint32_t all_msrs[HL_KVM_MSRS] = {
    MSR_STAR,   MSR_LSTAR,  0xc0000083, MSR_SFMASK, /* and that of 32 bits */
    0xc0000102, 0xc0000103,                         /* kernel GS, TSC_AUX */
    0x174,      0x175,      0x176,                  /* SYSENTER */
    0x277,                                          /* PAT */
};

struct msrs {
    struct kvm_msrs head;
    struct kvm_msr_entry entries[HL_KVM_MSRS];
};

/* How many of the MSRs from `list` on could be read: the call stops at one
 * that this processor does not have. */
static int read_msrs(const struct hl_kvm *k, const uint32_t *list,
                     size_t count, uint64_t *values)
{
    struct msrs m = {.head.nmsrs = (uint32_t)count};

    for (size_t i = 0; i < count; i++)
        m.entries[i].index = list[i];
    int done = count ? ioctl(k->cpu_fd, KVM_GET_MSRS, &m) : 0;
    if (done < 0)
        return -errno;
    for (int i = 0; i < done; i++)
        values[i] = m.entries[i].data;
    return done;
}

static int find_msrs(struct hl_kvm *k)
{
    uint64_t values[HL_KVM_MSRS];

    for (size_t at = 0; at < HL_KVM_MSRS; at++) { /* steps over one missing */
        int done =
            read_msrs(k, &all_msrs[at], HL_ARRAY_SIZE(all_msrs) - at, values);
        if (done < 0)
            return done;
        for (int i = 0; i < done; i++)
            k->msrs[k->msr_count++] = all_msrs[at++];
    }
    return 0;
}

static int write_msrs(const struct hl_kvm *k, const uint64_t *values)
{
    struct msrs m = {.head.nmsrs = (uint32_t)k->msr_count};

    for (size_t i = 0; i < k->msr_count; i++) {
        m.entries[i].index = k->msrs[i];
        m.entries[i].data = values[i];
    }
    int done = ioctl(k->cpu_fd, KVM_SET_MSRS, &m);
    return done < 0 ? -errno : (size_t)done != k->msr_count ? -EIO : 0;
}

static int read_rest(const struct hl_kvm *k, struct hl_kvm_rest *rest)
{
    memset(rest, 0, sizeof *rest);
    if ((k->has_xcrs && ioctl(k->cpu_fd, KVM_GET_XCRS, &rest->xcrs) < 0) ||
        ioctl(k->cpu_fd, KVM_GET_DEBUGREGS, &rest->debug) < 0 ||
        ioctl(k->cpu_fd, KVM_GET_VCPU_EVENTS, &rest->events) < 0)
        return -errno;
    int done = read_msrs(k, k->msrs, k->msr_count, rest->msrs);
    return done < 0 ? done : (size_t)done != k->msr_count ? -EIO : 0;
}

static int write_rest(struct hl_kvm *k, const struct hl_kvm_rest *rest)
{
    if ((k->has_xcrs && ioctl(k->cpu_fd, KVM_SET_XCRS, &rest->xcrs) < 0) ||
        ioctl(k->cpu_fd, KVM_SET_DEBUGREGS, &rest->debug) < 0 ||
        ioctl(k->cpu_fd, KVM_SET_VCPU_EVENTS, &rest->events) < 0)
        return -errno;
    return write_msrs(k, rest->msrs);
}

/* Where a SYSCALL goes; without EFER.SCE, if a KVM without hardware help lets
 * it go anywhere: to an instruction that reports it.  With hardware help it is
 * undefined itself then. */
static int set_system_call(const struct hl_kvm *k)
{
    struct msrs m = {
        .head.nmsrs = k->config.system_calls ? 3 : 1,
        .entries = {{.index = MSR_LSTAR, .data = k->config.tables.system_call},
                    {.index = MSR_STAR, .data = HL_START_STAR},
                    {.index = MSR_SFMASK, .data = HL_START_SFMASK}},
    };

    int done = ioctl(k->cpu_fd, KVM_SET_MSRS, &m);
    return done < 0 ? -errno : done != (int)m.head.nmsrs ? -EIO : 0;
}

/* A processor runs the stub at CPL 0; a KVM without hardware help leaves the
 * guest where it was. */
int hl_kvm_leave_supervisor(struct hl_kvm *k)
{
    struct kvm_sregs *s = &k->kvm_run->s.regs.sregs;

    if (ioctl(k->cpu_fd, KVM_GET_SREGS, s) < 0)
        return -errno;
    if (s->cs.dpl == 3)
        return 0;
    s->cs = segment(HL_X86_USER_CODE, 0xb, true);
    s->ss = segment(HL_X86_USER_DATA, 0x3, false);
    s->tr.type = hl_start_tss_type();
    k->sets_sregs = true;
    return 0;
}

/* With the next KVM_RUN, as what a load puts off. */
int hl_kvm_set_thread(struct hl_vm *vm, uint64_t base)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    struct kvm_sregs *s = &k->kvm_run->s.regs.sregs;

    if (!k->sets_sregs && ioctl(k->cpu_fd, KVM_GET_SREGS, s) < 0)
        return -errno;
    s->tr.type = hl_start_tss_type();
    s->fs.base = base;
    k->sets_sregs = true;
    return 0;
}

/* What the vCPU holds, but for k->regs. */
static int read_state(struct hl_kvm *k, struct hl_kvm_state *s)
{
    if (ioctl(k->cpu_fd, KVM_GET_SREGS, &s->sregs) < 0 ||
        ioctl(k->cpu_fd, KVM_GET_XSAVE, &s->xsave) < 0)
        return -errno;
    hl_kvm_put_pkru(k, &s->xsave, hl_kvm_pkru(k, &s->xsave));
    s->sregs.tr.type =
        hl_start_tss_type(); /* what was read always says busy */
    if (!k->plain)
        return read_rest(k, &s->rest);
    s->rest = k->rest;
    return 0;
}

static int keep_first(struct hl_kvm *k)
{
    k->first = calloc(1, sizeof *k->first);
    if (k->first == NULL)
        return -ENOMEM;
    int err = read_state(k, k->first);
    k->is_first = err == 0;
    return err;
}

static int find_entry(struct hl_kvm *k)
{
    if (!k->has_xcrs || !k->config.tables.entry_data)
        return 0;
    int err = hl_kvm_find_pkru(k);
    if (err > 0)
        err = set_sregs(k);
    k->entry_code =
        k->has_pkru ? k->config.tables.entry_pkru : k->config.tables.entry;
    k->entry =
        hl_vm_host(&k->config, k->config.tables.entry_data, sizeof *k->entry);
    return err;
}

int hl_kvm_set_up_vcpu(struct hl_kvm *k, int kvm_fd, const char **what)
{
    *what = "KVM_SET_CPUID2";
    int err = set_cpuid(k, kvm_fd);
    if (err < 0)
        return err;
    *what = "KVM_SET_SREGS";
    k->has_xcrs = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0;
    err = set_sregs(k);
    if (err < 0)
        return err;
    *what = "KVM_SET_XCRS";
    err = set_xcr0(k);
    if (err < 0)
        return err;
    *what = "KVM_GET_MSRS";
    err = find_msrs(k);
    if (err < 0)
        return err;
    *what = "KVM_SET_MSRS";
    err = set_system_call(k);
    if (err < 0)
        return err;
    *what = "KVM_RUN";
    err = find_entry(k);
    if (err < 0)
        return err;
    *what = "KVM_GET_XSAVE";
    return keep_first(k);
}

/* XRSTOR refuses state components that XCR0 does not have; those that KVM
 * reports beyond it are in their first state.  The guest can read the page:
 * it holds this state's registers, and those of no other. */
static void fill_entry(struct hl_kvm *k, const struct kvm_xsave *from)
{
    const unsigned char *bytes = (const unsigned char *)from;
    uint64_t components;

    if (k->entry == NULL)
        return;
    memcpy(&components, bytes + XSTATE_BV, sizeof components);
    components &= k->xcr0;
    memcpy(k->entry->xsave, bytes, sizeof k->entry->xsave);
    memcpy(k->entry->xsave + XSTATE_BV, &components, sizeof components);
    k->entry->pkru = hl_kvm_pkru(k, from);
}

/* A trap would end it, and a guest that may not read would not get through. */
static bool can_enter(const struct hl_kvm *k, const struct hl_kvm_state *s)
{
    return k->entry && !(s->regs.rflags & HL_RFLAGS_TF) &&
           !(k->has_pkru && hl_kvm_pkru(k, &s->xsave) & HL_X86_PKRU_AD0);
}

/* This is what the vCPU has now. */
static void holds(struct hl_kvm *k, const struct hl_kvm_state *s)
{
    fill_entry(k, &s->xsave);
    k->rest = s->rest;
    k->plain = true;
}

int hl_kvm_save(struct hl_vm *vm, void *state)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    struct hl_kvm_state *s = state;

    if (k->is_first) { /* what was put off until the next run is this */
        *s = *k->first;
        s->regs = k->regs;
        holds(k, s);
        return 0;
    }
    memset(s, 0, sizeof *s);
    int err = hl_kvm_settle(k);
    if (err < 0)
        return err;
    s->regs = k->regs;
    err = read_state(k, s);
    if (err == 0)
        holds(k, s);
    return err;
}

int hl_kvm_load(struct hl_vm *vm, const void *state)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    const struct hl_kvm_state *s = state;
    int err;

    k->begun = k->is_first = false;
    if (k->plain && can_enter(k, s) &&
        memcmp(&s->rest, &k->rest, sizeof k->rest) == 0) {
        k->regs = s->regs;
        k->kvm_run->s.regs.sregs = s->sregs;
        k->sets_sregs = true;
        fill_entry(k, &s->xsave);
        k->enters = true;
        return 0;
    }
    k->plain = false;
    err = hl_kvm_settle(k);
    if (err < 0)
        return err;
    k->regs = s->regs;
    if (ioctl(k->cpu_fd, KVM_SET_SREGS, &s->sregs) < 0 ||
        ioctl(k->cpu_fd, KVM_SET_XSAVE, &s->xsave) < 0)
        return -errno;
    err = write_rest(k, &s->rest);
    if (err < 0)
        return err;
    holds(k, s);
    /* Not all of it was set: where processors keep the addresses of the last
     * x87 instruction, and load them only beside an exception, those are still
     * the last guest's.  The entry code makes them its own. */
    k->enters = can_enter(k, s);
    return 0;
}

/* V6.  Who kicked the machine meant its last guest. */
int hl_kvm_renew(struct hl_vm *vm)
{
    struct hl_kvm *k = hl_kvm_of(vm);

    int err = hl_kvm_check_files(k);
    if (err < 0)
        return err;
    atomic_store(&k->kicked, false);
    err = hl_kvm_load(vm, k->first);
    k->is_first = err == 0;
    return err;
}
