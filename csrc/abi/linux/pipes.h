/* Pipes, and counters that are waited for. */
#ifndef HL_ABI_LINUX_PIPES_H
#define HL_ABI_LINUX_PIPES_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_pipe2, hl_linux_eventfd2;

#endif
