/* Signals that the program sends to itself, and their handlers.  Nobody else
 * sends it any.
 *
 * Handlers get what the kernel gives them (arch/x86/kernel/signal_64.c), but
 * for vector state, which goes on as it is: a signal arrives at the end of a
 * system call only, where a program keeps nothing in vector registers that a
 * function may change.  Faults have no handler: they end the program. */
#ifndef HL_ABI_LINUX_SIGNALS_H
#define HL_ABI_LINUX_SIGNALS_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_rt_sigaction, hl_linux_rt_sigprocmask,
    hl_linux_rt_sigpending, hl_linux_rt_sigreturn, hl_linux_sigaltstack,
    hl_linux_kill, hl_linux_tgkill;

/* The call is over: what is pending and not blocked happens. */
void hl_linux_deliver(struct hl_linux *linux_);

/* Does a signal end a call that waits?  What is ignored does not, and is
 * forgotten. */
bool hl_linux_is_interrupted(struct hl_linux *linux_);

/* Whether the call that was interrupted is made again, after the handler. */
bool hl_linux_restarts(const struct hl_linux *linux_, uint64_t number);

/* The signal that an exception is. */
int hl_linux_signal_of(uint64_t vector);

#endif
