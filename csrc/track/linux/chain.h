/* Earlier handlers of a signal: a short stack of saved dispositions.
 *
 * The bottom is the disposition found when our handler was installed.  A
 * handler that replaced ours and was then put behind it again (hl_chain_push)
 * is stacked above.  Such a handler may pass the signal back to us, because we
 * were its predecessor; the signal then goes one step further down, and never
 * to it again.
 *
 * hl_chain_pass is async-signal-safe.  Pushing is done under the lock of
 * fault.c, while handlers run. */
#ifndef HL_TRACK_LINUX_CHAIN_H
#define HL_TRACK_LINUX_CHAIN_H

#include <signal.h>

#include "base.h"

#define HL_CHAIN_DEPTH 8

struct hl_chain {
    int signal;
    struct sigaction ours; /* who passes on: set before the first push */
    struct sigaction links[HL_CHAIN_DEPTH];
    int depth; /* atomic: links[0 .. depth) are valid and do not change */
};

/* Put `action` on top; one that is there already is taken as the top again,
 * and what stood above it is forgotten. */
void hl_chain_push(struct hl_chain *chain, const struct sigaction *action);

/* by_kernel: the kernel called our handler, and not one that was before it.
 * Deliver the signal to the link that it is due to, and to the one below where
 * that changed nothing.  Returns when a handler dealt with it; for the default
 * action, returns so that the instruction faults again and the process dies of
 * it. */
void hl_chain_pass(struct hl_chain *chain, siginfo_t *info, void *context,
                   bool by_kernel);

#endif
