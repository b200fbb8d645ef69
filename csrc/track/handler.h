/* The system's part of fault.h: being called for each fault, before others.
 *
 * One file for each system.  All of this is called with the lock of fault.c
 * held, but for hl_handler_is_installed. */
#ifndef HL_TRACK_HANDLER_H
#define HL_TRACK_HANDLER_H

#include "base.h"
#include "track/fault.h"

/* The signals that this system has for it: at most HL_FAULT_SIGNALS. */
extern const int hl_handler_signals[];
extern const size_t hl_handler_signal_count;

/* What hl_handler_go_first calls, for errors. */
extern const char hl_handler_call[];

/* Has this process used our handler of this signal?  A load. */
bool hl_handler_is_installed(int signal);

/* Be called first from now on; who was, is called for what is not ours.
 * -errno: what sigaction says, or -ENOMEM. */
int hl_handler_go_first(int signal);

struct hl_fault_status hl_handler_status(int signal);

#endif
