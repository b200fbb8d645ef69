/* Interfaces between the files of the kvm driver: run.c makes and runs
 * the machine, state.c sets up, saves and loads its vCPU, kick.c ends a
 * run, regs.c moves its registers, selectors.c keeps a guest's selectors out
 * of the host's thread, pkru.c finds out whether a guest can change PKRU,
 * ring.c (with entries.c and spare.c, see ring.h) and log.c report what the
 * guest wrote, cpuid.c says which processor it has, files.c whether the
 * descriptors are still those of the machine. */
#ifndef HL_VM_KVM_MACHINE_H
#define HL_VM_KVM_MACHINE_H

#include <linux/kvm.h>
#include <stdatomic.h>

#include "os/linux/file.h"
#include "os/others.h"
#include "vm/driver.h"
#include "vm/signals.h"

/* Headers before Linux 5.11 and 6.2 lack these. */
#ifndef KVM_CAP_DIRTY_LOG_RING
#define KVM_CAP_DIRTY_LOG_RING 192
#define KVM_DIRTY_LOG_PAGE_OFFSET 64
#define KVM_DIRTY_GFN_F_DIRTY 1
#define KVM_DIRTY_GFN_F_RESET 2
#define KVM_RESET_DIRTY_RINGS _IO(KVMIO, 0xc7)
struct kvm_dirty_gfn {
    __u32 flags;
    __u32 slot;
    __u64 offset;
};
#endif
#define HL_KVM_RING_AT ((size_t)KVM_DIRTY_LOG_PAGE_OFFSET * 4096)
#ifndef KVM_CAP_DIRTY_LOG_RING_ACQ_REL
#define KVM_CAP_DIRTY_LOG_RING_ACQ_REL 223
#endif

_Static_assert(sizeof(struct kvm_dirty_gfn) == 16, "linux/kvm.h");
_Static_assert(KVM_RESET_DIRTY_RINGS == 0xaec7, "linux/kvm.h");

/* What a vCPU has and a guest at CPL 3 cannot change; an exception might. */
#define HL_KVM_MSRS 10
struct hl_kvm_rest {
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    uint64_t msrs[HL_KVM_MSRS];
};

struct hl_kvm_state {
    struct hl_vm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct hl_kvm_rest rest;
};

/*            open                  kick
 *   OUTSIDE ------> INSIDE ---> SENDING ---> SENT
 *      ^               | close                 | close, which takes the signal
 *      +---------------+-----------------------+ off the thread's pending ones
 */
enum hl_kvm_kick {
    HL_KVM_OUTSIDE,
    HL_KVM_INSIDE,
    HL_KVM_SENDING,
    HL_KVM_SENT,
};

struct hl_kvm {
    struct hl_vm vm; /* first: they are cast to each other */
    int vm_fd, cpu_fd;
    struct hl_file vm_file, cpu_file; /* what they were: files.c */
    uint64_t number;  /* which no other machine of this process had */
    uint64_t checked; /* the last number when they were found to be those; 0:
                         not yet marked */
    struct kvm_run *kvm_run; /* the kernel's and ours; a run is the driver's */
    size_t kvm_run_size;
    struct hl_vm_config config;
    struct hl_vm_regs regs;

    /* The vCPU. */
    bool has_xcrs, has_pkru; /* has: the guest can change it */
    uint64_t xcr0;
    size_t pkru_at;             /* in a kvm_xsave; 0: it is not there */
    uint32_t msrs[HL_KVM_MSRS]; /* those of the list that there are */
    size_t msr_count;
    struct hl_x86_entry *entry; /* NULL: no XSAVE */
    uint64_t entry_code;        /* the one of the tables that it takes */
    struct hl_kvm_rest rest;    /* what it holds, as long as... */
    bool plain;                 /* ...the guest only ever left by calls */
    struct hl_kvm_state *first; /* what it held when it was made... */
    bool is_first;   /* ...and holds, or is about to, but for regs */
    bool pending;    /* the last exit was none: see finish */
    bool enters;     /* the next run starts at the entry code */
    bool begun;      /* it goes on with one that did not leave */
    bool sets_sregs; /* and with kvm_run->s.regs.sregs */

    /* Ending a run: kick.c. */
    _Atomic enum hl_kvm_kick kick;
    atomic_bool kicked; /* not yet reported */
    pid_t runner;       /* the thread that is inside */
    uint64_t callers_mask, run_mask;
    bool has_run_mask; /* run_mask is what KVM_RUN was told */
    struct hl_kept_signal kept;

    /* Dirty ring. */
    size_t ring_size; /* entries; 0: it has none.  At HL_KVM_RING_AT bytes
                         from kvm_run on, in the same mapping. */
    struct hl_kvm_ring *ring;
};

static inline struct hl_kvm *hl_kvm_of(struct hl_vm *vm)
{
    return (struct hl_kvm *)vm;
}

/* state.c.  kvm_fd: /dev/kvm. */
int hl_kvm_set_up_vcpu(struct hl_kvm *k, int kvm_fd,
                       const char **what) HL_MUST_CHECK;
/* After a system call: CPL 3 with the next run, if it is not so already. */
int hl_kvm_leave_supervisor(struct hl_kvm *k) HL_MUST_CHECK;
int hl_kvm_set_thread(struct hl_vm *vm, uint64_t base);
int hl_kvm_save(struct hl_vm *vm, void *state);
int hl_kvm_load(struct hl_vm *vm, const void *state);
int hl_kvm_renew(struct hl_vm *vm);

/* files.c.  Before anything is opened. */
void hl_kvm_number(struct hl_kvm *k);
/* Note which files the descriptors are, once kvm_run is mapped. */
int hl_kvm_mark_files(struct hl_kvm *k) HL_MUST_CHECK;
/* Are they still?  -EBADF: not both; another error: it cannot be told. */
int hl_kvm_check_files(struct hl_kvm *k) HL_MUST_CHECK;
/* Unmap kvm_run, and close both; neither, if they are not both this machine's
 * any more. */
void hl_kvm_close_files(struct hl_kvm *k);

/* cpuid.c.  What the guest is to find with CPUID, and what follows from it;
 * kvm_fd: /dev/kvm.  The same for all machines of a process, so it is asked
 * once.  NULL: errno says why.  Any thread; never freed. */
struct hl_kvm_cpuid {
    uint64_t xcr0;
    size_t pkru_at; /* as in struct hl_kvm */
    struct kvm_cpuid2 *list;
};
const struct hl_kvm_cpuid *hl_kvm_cpuid(int kvm_fd);

/* finish.c.  hl_kvm_settle: the vCPU itself holds what the next run was to
 * begin with. */
int hl_kvm_finish(struct hl_vm *vm);
int hl_kvm_settle(struct hl_kvm *k) HL_MUST_CHECK;

/* regs.c.  The registers into the shared page, for the next KVM_RUN; and
 * back. */
#define HL_RFLAGS_TF (UINT64_C(1) << 8)
void hl_kvm_regs_out(struct hl_kvm *k);
void hl_kvm_regs_in(struct hl_kvm *k);
void hl_kvm_regs_from(const struct kvm_regs *from, struct hl_vm_regs *to);

/* kick.c.  Between open and close, on one thread, hl_kvm_kick makes
 * KVM_RUN return -EINTR, and the signals of that thread are its own
 * business. */
int hl_kvm_kick_open(struct hl_kvm *k) HL_MUST_CHECK;
int hl_kvm_kick_probe(void) HL_MUST_CHECK; /* can signals be sent here? */
void hl_kvm_kick_close(struct hl_kvm *k);
void hl_kvm_kick(struct hl_vm *vm);
/* selectors.c.  The four selectors that a guest can change, of this
 * thread, in one number; and back to what they were. */
uint64_t hl_kvm_selectors(void);
void hl_kvm_put_back_selectors(uint64_t before, uint64_t now);

/* pkru.c.  Whether the guest can change PKRU: runs the vCPU, if that is
 * not known, before anything else does.  Its system registers are to be set
 * anew. */
int hl_kvm_find_pkru(struct hl_kvm *k) HL_MUST_CHECK;
uint32_t hl_kvm_pkru(const struct hl_kvm *k, const struct kvm_xsave *from);
/* For KVM_SET_XSAVE to set it too, where the guest can change it. */
void hl_kvm_put_pkru(const struct hl_kvm *k, struct kvm_xsave *to,
                     uint32_t value);

/* ring.c, log.c: trackers of the logged slots. */
extern const struct hl_tracker_ops hl_kvm_ring_ops, hl_kvm_log_ops;
/* The kernel keeps 64 entries of a ring back, and as many as a processor's own
 * log has (512). */
#define HL_KVM_RING_RESERVED 576
/* So many entries are added at once where some are lacking. */
#define HL_KVM_SPARE 48
int hl_kvm_ring_open(struct hl_vm *vm, void *memory, size_t page_count,
                     struct hl_tracker **out, char *why) HL_MUST_CHECK;
/* entries.c.  Make room in a full ring, in which no page is protected: what
 * the guest may write to it may go on writing to.  The vCPU must not run. */
int hl_kvm_ring_full(struct hl_kvm *k) HL_MUST_CHECK;
int hl_kvm_log_open(struct hl_vm *vm, void *memory, size_t page_count,
                    struct hl_tracker **out, char *why) HL_MUST_CHECK;

/* A logged slot's pages, as such a tracker counts them. */
static inline struct hl_run hl_kvm_slot_pages(const struct hl_tracker *t,
                                              const struct hl_vm_slot *slot)
{
    size_t offset = (size_t)((char *)slot->host - t->addr);

    return (struct hl_run){offset / t->page_size, slot->size / t->page_size};
}

#endif
