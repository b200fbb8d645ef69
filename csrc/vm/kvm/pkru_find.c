/* Whether a guest can change PKRU (pkru.c): found by letting one try. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm/machine.h"
#include "vm/slots.h"

#define MOST_TURNS 1000

/* The same for all machines of a process. */
enum {
    UNKNOWN,
    OUT_OF_REACH,
    IN_REACH,
};
static _Atomic int known;

/* Its first instructions, before it has any: the vCPU's registers and the
 * stack of exceptions are as new only when this is over. */
static int try(struct hl_kvm *k)
{
    int err, turns = 0;

    k->regs.rip = k->config.tables.rdpkru;
    do {
        hl_kvm_regs_out(k);
        err = ioctl(k->cpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
    } while (err == -EINTR && ++turns < MOST_TURNS);
    k->kvm_run->kvm_dirty_regs = 0;
    if (err == -EINTR)
        return err;
    if (err < 0 || k->kvm_run->exit_reason != KVM_EXIT_IO)
        return UNKNOWN; /* the first call will say what is wrong */
    return k->kvm_run->io.port == HL_PORT_GUEST ? IN_REACH : OUT_OF_REACH;
}

/* What an exception pushed. */
static void clean_stack(struct hl_kvm *k)
{
    const struct hl_x86_tables *t = &k->config.tables;
    uint64_t rsp = k->kvm_run->s.regs.regs.rsp;
    uint64_t pushed = t->stack + t->stack_size - rsp;

    if (pushed > t->stack_size)
        return;
    void *at = hl_vm_host(&k->config, rsp, pushed);
    if (at)
        memset(at, 0, pushed);
}

int hl_kvm_find_pkru(struct hl_kvm *k)
{
    const struct hl_vm_regs first = k->regs;
    int reach = known, err;

    k->has_pkru = reach == IN_REACH;
    if (reach != UNKNOWN)
        return 0;
    reach = try(k);
    k->pending = reach == OUT_OF_REACH;
    if (k->pending)
        clean_stack(k);
    err = hl_kvm_finish(&k->vm);
    k->regs = first;
    k->begun = false;
    if (reach < 0 || err < 0)
        return reach < 0 ? reach : err;
    if (reach != UNKNOWN)
        known = reach;
    k->has_pkru = reach == IN_REACH;
    return 1;
}
