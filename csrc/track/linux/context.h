/* What the context of a SIGSEGV or SIGBUS says of the access that failed.
 *
 * The only file that knows the machine's signal frame.  On an unknown machine
 * every answer is the one that is safe by the contract of track.h: a fault is
 * taken for a write, and then its page is looked at. */
#ifndef HL_TRACK_LINUX_CONTEXT_H
#define HL_TRACK_LINUX_CONTEXT_H

#include <ucontext.h>

#include "base.h"

/* Was the access a write?  Where that is not known, true: tracked pages stay
 * readable, so that what faults on them writes, unless it is executed.
 * Async-signal-safe, as all that follows. */
bool hl_context_is_write(const void *context, uintptr_t addr);

/* Was there a page?  False where that is not known. */
bool hl_context_is_present(const void *context);

/* Did the kernel call the handler, and not another handler?  `frame` is where
 * the handler saved the frame pointer, `caller` where it returns to.  False
 * where that is not known. */
bool hl_context_is_from_kernel(const void *context, const void *frame,
                               const void *caller);

#endif
