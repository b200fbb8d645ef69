/* Guest ABIs: the state in which a guest starts, and its protocol with the
 * host.
 *
 * The third table beside trackers (track/track.h) and drivers (vm/driver.h):
 * a driver knows how to run code, an ABI what the code expects.  Each ABI
 * fills in a struct hl_abi_ops; abi.c lists them, those that take fewer files
 * first.
 *
 * What every ABI promises:
 *
 *  B1. Only an ABI names registers or reads what the guest wrote.
 *  B2. Data that the host wrote for one run is not in guest memory in a later
 *      one: begin() removes all that its message does not replace.
 *  B3. The memory named by scratch() is never part of a snapshot: it is zeroed
 *      before one is taken.
 *
 * Threads: those of the sandbox's turn (turn.h). */
#ifndef HL_ABI_ABI_H
#define HL_ABI_ABI_H

#include "abi/loading.h"
#include "base.h"
#include "guest/abi.h"
#include "vm/driver.h"
#include "vm/window.h"

/* Why the guest left: for a reason of its own, or because it was stopped. */
enum hl_left {
    HL_LEFT_READY = HL_LEAVE_READY, /* for a call; the last one has ended */
    HL_LEFT_HOST_CALL = HL_LEAVE_HOST_CALL,
    HL_LEFT_LOG = HL_LEAVE_LOG,
    HL_LEFT_ABORT = HL_LEAVE_ABORT,
    HL_LEFT_KICKED = 0, /* not done: see to signals, and run it again */
    HL_LEFT_EXCEPTION = -1,
    HL_LEFT_INTERRUPTED = -2,
    HL_LEFT_TIMEOUT = -3,
    HL_LEFT_BROKEN = -4, /* its exit has no meaning in its ABI */
    HL_LEFT_EXITED = -5, /* the program did, and cannot go on */
    HL_LEFT_LIMIT = -6,  /* it went beyond one, and does not go on */
    HL_LEFT_SERVED = -7, /* nothing more is to be done: run it again */
    HL_LEFT_ASKS = -8,   /* for what was only announced to it */
    HL_LEFT_OUTPUT = -9, /* that its caller wants at once */
};

/* How a program is started: its arguments and then its environment, each text
 * with its NUL, one behind the other. */
struct hl_start {
    const char *texts;
    size_t size, argument_count, variable_count;
};

/* What the layout gives to a guest.  Native ones have a thread, an input and
 * an output; programs what a kernel keeps of them, and a start. */
struct hl_abi_config {
    struct hl_image image;
    struct hl_span thread, stack, heap, input, output;
    struct hl_span kernel;       /* tracked, out of the guest's reach */
    struct hl_image interpreter; /* of a program; file NULL: it has none */
    struct hl_start start;
    bool pinned; /* pages must not be dropped (vm/driver.h) */
    struct hl_window window;
};

/* The state of one guest's conversation; an ABI's own begins with it. */
struct hl_abi {
    const struct hl_abi_ops *ops;
};

struct hl_call; /* abi/native/call.h */

struct hl_abi_ops {
    const char *name;

    /* Can a guest with this file speak it? */
    bool (*takes)(const struct hl_image *image);

    /* Load the guest into `vm`'s slots; fill in vm->fs_base, the registers it
     * starts with, and *out, whose `ops` the caller sets and which he frees
     * by end().  On error nothing is left, and `why` holds a sentence. */
    int (*start)(const struct hl_abi_config *config, struct hl_vm_config *vm,
                 struct hl_vm_regs *regs, struct hl_abi **out, char *why);
    void (*end)(struct hl_abi *abi);

    /* The guest is about to run with what was written for it: B2. */
    void (*begin)(struct hl_abi *abi, struct hl_vm_regs *regs);

    /* What it means that this machine (NULL: of a call it makes none) stopped,
     * and what has to be done for that. */
    enum hl_left (*step)(struct hl_abi *abi, struct hl_vm *vm,
                         const struct hl_exit *exit);

    /* Before the machine runs: what the last step left to do.  Other than
     * HL_LEFT_SERVED: it is not run now.  NULL: nothing ever is. */
    enum hl_left (*resume)(struct hl_abi *abi, struct hl_vm *vm);

    /* From now on the guest is not trusted: its final rights, for a machine
     * that will be made anew.  -errno: nothing changed.  NULL: they never
     * change. */
    int (*bake)(struct hl_abi *abi, struct hl_vm_config *vm);

    /* Memory was put back: what is not in it follows.  NULL: nothing. */
    void (*restored)(struct hl_abi *abi);

    /* The native messages of a guest that has them; NULL: it has none. */
    struct hl_call *(*messages)(struct hl_abi *abi);

    /* B3: whole pages, or size 0. */
    struct hl_span (*scratch)(const struct hl_abi *abi);
};

extern const struct hl_abi_ops *const hl_abis[];
extern const size_t hl_abi_count;

/* The ABI of that name, or, with NULL, the first that takes the file; NULL:
 * there is none. */
const struct hl_abi_ops *hl_abi_find(const char *name,
                                     const struct hl_image *image);

/* For the ABIs' own files. */
extern const struct hl_abi_ops hl_abi_native, hl_abi_linux;

/* What a machine's stop means whatever the guest speaks; HL_EXIT_CALL, which
 * an ABI reads itself, and what has no meaning are HL_LEFT_BROKEN. */
enum hl_left hl_abi_stopped(const struct hl_exit *exit);

#endif
