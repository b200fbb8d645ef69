/* PKRU: what a thread may do to pages of each protection key (SDM vol. 3,
 * 4.6.2).
 *
 * With CR4.PKE at 0 a guest can neither read nor write it.  But a KVM without
 * hardware help may run a guest with the host's CR4: then the guest can change
 * PKRU, and neither KVM_SET_SREGS nor XCR0 prevents that.  Whether it can is
 * only found by trying. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vm/kvm/machine.h"

#define COMPONENT (UINT64_C(1) << 9) /* of XCR0 and XSTATE_BV */
#define XSTATE_BV 512                /* of the XSAVE area */
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
    void *at = hl_kvm_host(k, rsp, pushed);
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

uint32_t hl_kvm_pkru(const struct hl_kvm *k, const struct kvm_xsave *from)
{
    const char *area = (const char *)from;
    uint64_t components;
    uint32_t value = 0; /* of its first state */

    memcpy(&components, area + XSTATE_BV, sizeof components);
    if (k->pkru_at && components & COMPONENT)
        memcpy(&value, area + k->pkru_at, sizeof value);
    return value;
}

/* KVM_SET_XSAVE leaves it alone where its component is in its first state. */
void hl_kvm_put_pkru(const struct hl_kvm *k, struct kvm_xsave *to,
                     uint32_t value)
{
    char *area = (char *)to;
    uint64_t components;

    if (!k->has_pkru || !k->pkru_at)
        return;
    memcpy(&components, area + XSTATE_BV, sizeof components);
    components |= COMPONENT;
    memcpy(area + XSTATE_BV, &components, sizeof components);
    memcpy(area + k->pkru_at, &value, sizeof value);
}
