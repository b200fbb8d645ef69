/* How a run is ended from outside: by a signal to the thread inside KVM_RUN
 * that is never delivered.
 *
 * SIGURG is blocked in the thread around KVM_RUN, and the kernel is told to
 * unblock it during KVM_RUN only (KVM_SET_SIGNAL_MASK,
 * Documentation/virt/kvm/api.rst, 4.13).  Sent in between, it makes KVM_RUN
 * return; sent before, it waits and makes KVM_RUN return at once.  It is then
 * taken off the thread's pending signals before it is unblocked.  Therefore
 * none of these matters:
 *
 *  - the caller's signal mask: it is read at each run and put back, and what
 *    it blocks besides stays blocked in KVM_RUN, so that a pending signal that
 *    the caller blocks cannot make KVM_RUN return again and again (a pending
 *    SIGURG of his own is kept meanwhile, and queued again);
 *  - the handler of the signal, whoever put it there, and whether it is
 *    ignored: a blocked signal is kept whatever its disposition, and this one
 *    never gets so far;
 *  - thread ids: a signal is only sent while the thread that it is for is
 *    inside, and that thread waits for the sender before it goes on;
 *  - RLIMIT_SIGPENDING: unlike a real-time signal, this one needs no queue
 *    entry to become pending;
 *  - fork: nothing here outlives a run, and a child runs nothing of its
 *    parent's.
 */
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm/kvm/machine.h"

_Static_assert(KVM_SET_SIGNAL_MASK == 0x4004ae8b, "linux/kvm.h");

static int set_mask_of_run(struct hl_kvm *k, uint64_t mask)
{
    struct {
        struct kvm_signal_mask head;
        uint64_t set;
    } __attribute__((packed)) arg = {.head.len = sizeof mask, .set = mask};

    if (k->has_run_mask && k->run_mask == mask)
        return 0;
    if (ioctl(k->cpu_fd, KVM_SET_SIGNAL_MASK, &arg) < 0)
        return -errno;
    k->run_mask = mask;
    k->has_run_mask = true;
    return 0;
}

int hl_kvm_kick_probe(void)
{
    return syscall(SYS_tgkill, getpid(), hl_thread_id(), 0) < 0 ? -errno : 0;
}

int hl_kvm_kick_open(struct hl_kvm *k)
{
    int err = hl_signal_mask(SIG_BLOCK, HL_KICK_BIT, &k->callers_mask);
    if (err < 0)
        return err;
    err = set_mask_of_run(k, k->callers_mask & ~HL_KICK_BIT);
    if (err < 0) {
        if (!(k->callers_mask & HL_KICK_BIT))
            (void)hl_signal_mask(SIG_SETMASK, k->callers_mask, NULL);
        return err;
    }
    hl_signal_keep(&k->kept, k->callers_mask);
    k->runner = hl_thread_id();
    atomic_store(&k->kick, HL_KVM_INSIDE);
    return 0;
}

void hl_kvm_kick_close(struct hl_kvm *k)
{
    enum hl_kvm_kick was = HL_KVM_INSIDE;

    while (!atomic_compare_exchange_strong(&k->kick, &was, HL_KVM_OUTSIDE)) {
        if (was == HL_KVM_SENT) {
            (void)hl_signal_take(NULL);
            atomic_store(&k->kick, HL_KVM_OUTSIDE);
            break;
        }
        sched_yield(); /* the sender is between two lines of hl_kvm_kick */
        was = HL_KVM_INSIDE;
    }
    hl_signal_give_back(&k->kept);
    if (!(k->callers_mask & HL_KICK_BIT))
        (void)hl_signal_mask(SIG_SETMASK, k->callers_mask, NULL);
}

/* `kicked` is set before `kick` is looked at, and looked at after `kick` is
 * set: either the runner sees it before KVM_RUN, or the signal is sent. */
void hl_kvm_kick(struct hl_vm *vm)
{
    struct hl_kvm *k = hl_kvm_of(vm);
    enum hl_kvm_kick was = HL_KVM_INSIDE;
    int saved = errno;

    atomic_store(&k->kicked, true);
    if (atomic_compare_exchange_strong(&k->kick, &was, HL_KVM_SENDING)) {
        long rc = syscall(SYS_tgkill, getpid(), k->runner, HL_KICK);
        atomic_store(&k->kick, rc == 0 ? HL_KVM_SENT : HL_KVM_INSIDE);
    }
    errno = saved;
}
