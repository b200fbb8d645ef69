/* Drivers: the engines that run guests.
 *
 * Each driver is one file that fills in a struct hl_driver_ops; driver.c lists
 * them in order of preference.  A machine has one vCPU, which runs at CPL 3 in
 * long mode on the tables that image/x86.h builds.
 *
 * What every driver promises:
 *
 *  V1. Guest memory is the caller's memory, slot by slot; the guest reaches
 *      nothing else of this process.
 *  V2. run() returns when the guest leaves, and reports the reason; after any
 *      reason, the machine can be loaded with a saved state and run again.
 *  V3. load() after save() gives the guest exactly what it had: general,
 *      segment and control registers, x87/SSE/AVX state, the MSRs and debug
 *      registers that a guest could change, pending events.  Time goes on.
 *  V4. kick() makes a run() under way, or else the next one, return
 *      HL_EXIT_KICKED within a few milliseconds, regardless of the signal
 *      state of the thread that runs it.  A run may also return so without a
 *      kick: the caller checks the event that it waits for, and runs the
 *      machine again if it has not come.
 *  V5. After finish() no operation of the guest is unfinished: the machine
 *      writes to guest memory only while it runs.
 *
 *  V6. renew(), where there is one, makes a machine at rest (one that never
 *      ran, or left by a call, or was loaded since) as good as new: it holds
 *      nothing of its guest but what lies in the memory of its slots, which
 *      are where they were.  It fails if descriptors of the machine were
 *      closed meanwhile, or are other files now; destroy() leaves those alone.
 *
 *  V7. A system call leaves with the guest's registers, and goes on behind the
 *      instruction with those that the caller puts there; RCX and R11 are the
 *      address and the flags that SYSCALL leaves there, or untouched.  value:
 *      where a SYSCALL is that would leave at less cost if its bytes were an
 *      OUT to HL_PORT_SYSTEM_CALL; or 0.  The guest may lie about where it is:
 *      it says RCX - 2, and can get to the stub without a SYSCALL.
 *
 * Threads: one call at a time on a machine, on any thread; kick() at any
 * moment on any thread.  Fork: a child cannot use its parent's machines, but
 * destroy them. */
#ifndef HL_VM_DRIVER_H
#define HL_VM_DRIVER_H

#include "base.h"
#include "image/x86.h"
#include "track/track.h"

#define HL_VM_SLOTS 8

/* Guest memory [addr, +size) is host memory [host, +size). */
struct hl_vm_slot {
    void *host;
    uint64_t addr, size;
    bool logged; /* the guest's writes to it are to be found out */
};

/* fs_base: where the guest's thread block is.  Slots and everything that the
 * tables map must agree. */
struct hl_vm_config {
    struct hl_vm_slot slots[HL_VM_SLOTS];
    size_t slot_count;
    struct hl_x86_region regions[HL_X86_REGIONS];
    size_t region_count;
    /* Stretches of regions with rights of their own: ascending, apart; the
     * caller's. */
    const struct hl_x86_region *finer;
    size_t finer_count;
    struct hl_x86_tables tables;
    uint64_t fs_base;
    bool system_calls; /* SYSCALL leaves (V7); else it is undefined.  The
                          tables let it (image/x86.h). */
    /* That of the driver which will be opened; NULL: none, and no slot is
     * logged. */
    const struct hl_vm_tracker *tracker;
};

/* Registers, in the order in which instructions number them. */
struct hl_vm_regs {
    uint64_t gpr[16];
    uint64_t rip, rflags;
};

enum {
    HL_RAX,
    HL_RCX,
    HL_RDX,
    HL_RBX,
    HL_RSP,
    HL_RBP,
    HL_RSI,
    HL_RDI,
    HL_R11 = 11
};

enum hl_exit_reason {
    HL_EXIT_CALL,        /* a write to HL_PORT_GUEST; value: its RAX */
    HL_EXIT_SYSTEM_CALL, /* value: see V7 */
    HL_EXIT_EXCEPTION,   /* frame and cr2 say which */
    HL_EXIT_SHUTDOWN,    /* a triple fault */
    HL_EXIT_BAD_ACCESS,  /* outside of every slot; value: the address */
    HL_EXIT_KICKED,      /* by kick(), or a signal came */
    HL_EXIT_INTERRUPTED, /* the sandbox's: somebody asked for it */
    HL_EXIT_TIMEOUT,     /* the sandbox's: the deadline passed */
    HL_EXIT_UNKNOWN      /* value: the driver's own number for it */
};

#define HL_EXIT_DETAIL 112

struct hl_exit {
    enum hl_exit_reason reason;
    uint64_t value;
    struct hl_x86_frame frame;
    uint64_t cr2;
    char detail[HL_EXIT_DETAIL]; /* of an exception: what the driver knows
                                    besides its vector, for people; or "" */
};

struct hl_vm;

/* A tracker of what the guest writes to the logged slots. */
struct hl_vm_tracker {
    const struct hl_tracker_ops *ops;

    /* On a machine that was made for it, whose logged slots are [memory,
     * +page_count) of the host; the machine must outlive it and not run during
     * its calls.  -EOPNOTSUPP: this host has none. */
    int (*open)(struct hl_vm *vm, void *memory, size_t page_count,
                struct hl_tracker **out, char *why);
};

struct hl_driver_ops {
    const char *name;
    const char *device;    /* a file that it opens; NULL: none */
    bool is_boundary;      /* contains a hostile guest */
    bool host_sees_writes; /* the guest's writes are writes of this process:
                              its trackers track them */
    bool pins_memory;  /* pages of its slots must not be dropped, nor others
                          put in their place, while the machine is there */
    bool is_unseen;    /* tested on a fake of its hypervisor only */
    bool is_elsewhere; /* another system's: create() says so, and nothing else
                          is there */

    bool system_calls; /* V7: they can leave */

    /* Its own, in order of preference. */
    const struct hl_vm_tracker *trackers;
    size_t tracker_count;

    /* The memory must outlive the machine.  On error nothing is left and `why`
     * (HL_WHY_SIZE bytes) holds a sentence. */
    int (*create)(const struct hl_vm_config *config, struct hl_vm **out,
                  char *why);
    void (*destroy)(struct hl_vm *vm);

    /* The registers that the next run() starts with; they stay valid until
     * then and hold what the guest had when it left.  Costs nothing. */
    struct hl_vm_regs *(*regs)(struct hl_vm *vm);

    /* Where FS points, for a guest that asked for it in a system call (V7).
     * NULL: they cannot leave. */
    int (*set_thread)(struct hl_vm *vm, uint64_t base);

    /* Run until the guest leaves, or is kicked.  -errno: the machine is
     * unusable. */
    int (*run)(struct hl_vm *vm, struct hl_exit *exit);

    /* Async-signal-safe. */
    void (*kick)(struct hl_vm *vm);

    /* V5.  What the guest has in its registers is lost, unless it left by a
     * call.  NULL: there is never anything to finish. */
    int (*finish)(struct hl_vm *vm);

    /* V6, after finish().  Its memory holds tables equal to those that it was
     * made with.  -errno: destroy it.  NULL: machines cannot be used again. */
    int (*renew)(struct hl_vm *vm);

    /* Code in guest memory was changed by the host.  NULL: not needed. */
    void (*code_changed)(struct hl_vm *vm);

    /* state_size bytes; they hold no pointers.  A state may be loaded into
     * any machine of this driver with equal tables. */
    size_t state_size;
    int (*save)(struct hl_vm *vm, void *state);
    int (*load)(struct hl_vm *vm, const void *state);
};

struct hl_vm {
    const struct hl_driver_ops *ops;
};

/* All drivers in order of preference, and one by its name, or NULL. */
extern const struct hl_driver_ops *const hl_drivers[];
extern const size_t hl_driver_count;
const struct hl_driver_ops *hl_driver_find(const char *name);

/* Try it for real: run an instruction of a new machine, whose writes that
 * tracker of the driver's (or NULL) is to find.  0, or -errno and a sentence
 * that says what to install or whom to ask. */
int hl_driver_try(const struct hl_driver_ops *ops,
                  const struct hl_vm_tracker *tracker, char *why);

/* For the drivers' own files. */
extern const struct hl_driver_ops hl_driver_kvm, hl_driver_mshv, hl_driver_whp,
    hl_driver_emulator;

/* Where the emulator's library is, for those who know: a path, or NULL for the
 * usual name.  To be said before the emulator is first used. */
void hl_emulator_set_library(const char *path);

#endif
