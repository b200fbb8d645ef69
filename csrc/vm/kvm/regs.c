/* General registers on their way to KVM_RUN and back (KVM_CAP_SYNC_REGS). */
#include <string.h>

#include "vm/kvm/machine.h"

/* Where struct kvm_regs has the registers that instructions number so. */
static const uint8_t gpr_at[16] = {
    offsetof(struct kvm_regs, rax), offsetof(struct kvm_regs, rcx),
    offsetof(struct kvm_regs, rdx), offsetof(struct kvm_regs, rbx),
    offsetof(struct kvm_regs, rsp), offsetof(struct kvm_regs, rbp),
    offsetof(struct kvm_regs, rsi), offsetof(struct kvm_regs, rdi),
    offsetof(struct kvm_regs, r8),  offsetof(struct kvm_regs, r9),
    offsetof(struct kvm_regs, r10), offsetof(struct kvm_regs, r11),
    offsetof(struct kvm_regs, r12), offsetof(struct kvm_regs, r13),
    offsetof(struct kvm_regs, r14), offsetof(struct kvm_regs, r15),
};

static void to_kvm(const struct hl_vm_regs *from, struct kvm_regs *to)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(gpr_at); i++)
        memcpy((char *)to + gpr_at[i], &from->gpr[i], 8);
    to->rip = from->rip;
    to->rflags = from->rflags;
}

void hl_kvm_regs_from(const struct kvm_regs *from, struct hl_vm_regs *to)
{
    for (size_t i = 0; i < HL_ARRAY_SIZE(gpr_at); i++)
        memcpy(&to->gpr[i], (const char *)from + gpr_at[i], 8);
    to->rip = from->rip;
    to->rflags = from->rflags;
}

void hl_kvm_regs_out(struct hl_kvm *k)
{
    struct kvm_regs *regs = &k->kvm_run->s.regs.regs;

    to_kvm(&k->regs, regs);
    k->kvm_run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
    if (k->sets_sregs)
        k->kvm_run->kvm_dirty_regs |= KVM_SYNC_X86_SREGS;
    /* The guest can read the page, so it always holds what a guest entered by
     * it would find there, and nothing of when the host looked in between. */
    if (k->entry && (k->enters || !k->begun)) {
        k->entry->rax = regs->rax;
        k->entry->rcx = regs->rcx;
        k->entry->rdx = regs->rdx;
        k->entry->rip = regs->rip;
    }
    k->begun = true;
    if (k->enters)
        regs->rip = k->entry_code;
}

/* A run may end in the middle of the entry code: for a signal, or because the
 * dirty ring is full.  Then it has not begun, and is begun again, with the
 * registers that it was to begin with. */
void hl_kvm_regs_in(struct hl_kvm *k)
{
    uint64_t into = k->kvm_run->s.regs.regs.rip - k->entry_code;

    if (k->enters && into < HL_X86_ENTRY_CODE)
        return;
    hl_kvm_regs_from(&k->kvm_run->s.regs.regs, &k->regs);
    k->sets_sregs = k->enters = false;
    if (k->regs.rflags & HL_RFLAGS_TF) /* there may be a trap on its way */
        k->plain = false;
}
