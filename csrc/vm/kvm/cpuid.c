/* The processor that a guest finds.
 *
 * Asking KVM what it can be takes 400 us where this machine is itself a guest:
 * each CPUID instruction of the kernel's leaves it then.  The answer depends
 * on the processor, on KVM, and on what this process was permitted
 * (ARCH_REQ_XCOMP_GUEST_PERM), which only ever grows: an earlier answer stays
 * valid, also in a child of fork. */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "vm/kvm/machine.h"

#define ENTRIES 256

#define LEAF_XSAVE 0xd /* subleaf 0: what XCR0 can have */
#define XSAVE_PKRU 9   /* subleaf, and state component */
#define XCR0_X87_SSE UINT64_C(3)

/* What the host has, but for what a guest does not need: no nested
 * virtualization, no performance counters. */
static void reduce(struct hl_kvm_cpuid *cpuid)
{
    for (uint32_t i = 0; i < cpuid->list->nent; i++) {
        struct kvm_cpuid_entry2 *e = &cpuid->list->entries[i];
        if (e->function == 1)
            e->ecx &= ~(UINT32_C(1) << 5); /* VMX */
        if (e->function == 0x80000001)
            e->ecx &= ~(UINT32_C(1) << 2); /* SVM */
        if (e->function == LEAF_XSAVE && e->index == 0)
            cpuid->xcr0 = (e->eax & HL_X86_XCR0) | XCR0_X87_SSE;
        if (e->function == LEAF_XSAVE && e->index == XSAVE_PKRU &&
            e->ebx + sizeof(uint32_t) <= sizeof(struct kvm_xsave))
            cpuid->pkru_at = e->ebx;
        if (e->function == 0xa)
            e->eax = e->ebx = e->ecx = e->edx = 0;
    }
}

static void let_go(struct hl_kvm_cpuid *cpuid)
{
    free(cpuid->list);
    free(cpuid);
}

static struct hl_kvm_cpuid *ask(int kvm_fd)
{
    struct hl_kvm_cpuid *cpuid = calloc(1, sizeof *cpuid);
    if (cpuid == NULL)
        return NULL;
    cpuid->list = calloc(1, sizeof *cpuid->list +
                                ENTRIES * sizeof(struct kvm_cpuid_entry2));
    if (cpuid->list == NULL) {
        let_go(cpuid);
        errno = ENOMEM;
        return NULL;
    }
    cpuid->list->nent = ENTRIES;
    if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid->list) < 0) {
        int err = errno;
        let_go(cpuid);
        errno = err;
        return NULL;
    }
    reduce(cpuid);
    return cpuid;
}

/* No lock: of two threads that ask at once, one throws its answer away. */
const struct hl_kvm_cpuid *hl_kvm_cpuid(int kvm_fd)
{
    static _Atomic(struct hl_kvm_cpuid *) known;
    struct hl_kvm_cpuid *cpuid = atomic_load(&known), *none = NULL;

    if (cpuid)
        return cpuid;
    cpuid = ask(kvm_fd);
    if (cpuid && !atomic_compare_exchange_strong(&known, &none, cpuid)) {
        let_go(cpuid);
        cpuid = none;
    }
    return cpuid;
}
