/* The signal that ends a run from outside, as the threads that run machines
 * have it.
 *
 * SIGURG, because its default action is to do nothing, and debuggers pass it
 * on without stopping: Go preempts its own threads with it for these reasons.
 * Masks are the kernel's own sets of 8 bytes; glibc's are larger.
 *
 * Threads: each function is about the calling thread. */
#ifndef HL_VM_SIGNALS_H
#define HL_VM_SIGNALS_H

#include <signal.h>
#include <sys/types.h>

#include "base.h"

#define HL_KICK SIGURG
#define HL_KICK_BIT (UINT64_C(1) << (HL_KICK - 1))

/* All of them, while a machine is made: the kernel gives that up for any.
 * Returns what was blocked before. */
sigset_t hl_signals_block(void);
void hl_signals_put_back(const sigset_t *before);

int hl_signal_mask(int how, uint64_t mask, uint64_t *old);

/* Also in a child of fork. */
pid_t hl_thread_id(void);

/* Take one off the pending signals; false: there is none.  info may be NULL.
 */
bool hl_signal_take(siginfo_t *info);

/* A caller may block this very signal, and have one pending that it wants to
 * take itself: it would end each run at once.  So it is kept and queued again.
 */
struct hl_kept_signal {
    bool kept;
    siginfo_t info;
};
void hl_signal_keep(struct hl_kept_signal *kept, uint64_t callers_mask);
void hl_signal_give_back(struct hl_kept_signal *kept);

#endif
