/* The program's timer.  Its signal comes at the end of a system call, or ends
 * one that waits: a program that computes is not interrupted. */
#ifndef HL_ABI_LINUX_TIMERS_H
#define HL_ABI_LINUX_TIMERS_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_alarm, hl_linux_setitimer, hl_linux_getitimer;

/* If its time has come, there is a signal. */
void hl_linux_run_timer(struct hl_linux *linux_);

#endif
