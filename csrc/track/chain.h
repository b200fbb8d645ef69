/* Who had a signal before us: a short stack of saved dispositions.
 *
 * The bottom is what was there when our handler was installed.  Somebody who
 * puts a handler over ours and is then put behind us again (hl_chain_push) is
 * stacked above it.  Such a handler may give the signal back to us, because we
 * were its predecessor; the signal then goes one step further down, never to
 * it again.
 *
 * hl_chain_pass is async-signal-safe.  Pushing is done under the lock of
 * fault.c, while handlers run. */
#ifndef HL_TRACK_CHAIN_H
#define HL_TRACK_CHAIN_H

#include <signal.h>

#include "base.h"

#define HL_CHAIN_DEPTH 8

struct hl_chain {
    int signal;
    struct sigaction links[HL_CHAIN_DEPTH];
    int depth; /* atomic: links[0 .. depth) are valid and do not change */
};

/* Put `action` on top; one that is there already is taken as the top again,
 * and what stood above it is forgotten. */
void hl_chain_push(struct hl_chain *chain, const struct sigaction *action);

/* Deliver the signal to the link that it is due to.  Returns when that
 * handler does; for the default action, returns so that the instruction
 * faults again and the process dies of it. */
void hl_chain_pass(struct hl_chain *chain, siginfo_t *info, void *context);

#endif
