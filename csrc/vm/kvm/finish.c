/* What was put off until the next run, done now. */
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm/machine.h"

/* Do at once what was put off until the next run. */
static int finish_load(struct hl_kvm *k)
{
    struct kvm_xsave xsave = {0};

    if (k->sets_sregs &&
        ioctl(k->cpu_fd, KVM_SET_SREGS, &k->kvm_run->s.regs.sregs) < 0)
        return -errno;
    k->sets_sregs = false;
    if (k->enters) {
        memcpy(&xsave, k->entry->xsave, sizeof k->entry->xsave);
        hl_kvm_put_pkru(k, &xsave, (uint32_t)k->entry->pkru);
        if (ioctl(k->cpu_fd, KVM_SET_XSAVE, &xsave) < 0)
            return -errno;
    }
    k->enters = false;
    return 0;
}

/* An instruction that left is completed by the next KVM_RUN only, and until
 * then RIP may still point at it; immediate_exit makes that all that is done
 * (Documentation/virt/kvm/api.rst, 5).  Returns 0 where it left once more
 * instead, 1 when it is complete. */
static int complete(struct hl_kvm *k)
{
    hl_kvm_regs_out(k);
    k->begun = false;
    k->kvm_run->immediate_exit = 1;
    int rc = ioctl(k->cpu_fd, KVM_RUN, 0);
    int err = rc < 0 ? -errno : 0;
    k->kvm_run->immediate_exit = 0;
    k->kvm_run->kvm_dirty_regs = 0;
    return err == -EINTR ? 1 : err;
}

int hl_kvm_settle(struct hl_kvm *k)
{
    struct kvm_regs regs;

    hl_let_others_run(); /* a dozen system calls around this one */
    int err = finish_load(k);
    if (err < 0)
        return err;
    err = complete(k);
    if (err < 0)
        return err;
    if (ioctl(k->cpu_fd, KVM_GET_REGS, &regs) < 0)
        return -errno;
    hl_kvm_regs_from(&regs, &k->regs);
    return 0;
}

/* INS and accesses to where there is no memory write registers and memory when
 * they are completed.  With a REP prefix they then leave again, as often as
 * RCX says, which is the guest's to choose: with as much there as this exit is
 * for, the repetition ends with it.  What else one instruction does is little.
 */
#define MOST_EXITS 64

int hl_kvm_finish(struct hl_vm *vm)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    int err = 0;

    if (!k->pending) /* a call's OUT changes nothing but RIP */
        return 0;
    hl_let_others_run();
    for (int i = 0; i < MOST_EXITS && err == 0; i++) {
        bool io = k->kvm_run->exit_reason == KVM_EXIT_IO;
        k->regs.gpr[HL_RCX] = io ? k->kvm_run->io.count : 1;
        err = complete(k);
    }
    if (err == 0)
        return -EIO;
    k->pending = err < 0;
    return err < 0 ? err : 0;
}
