/* Waiting for one of several descriptors. */
#ifndef HL_ABI_LINUX_POLLS_H
#define HL_ABI_LINUX_POLLS_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_poll, hl_linux_ppoll, hl_linux_select,
    hl_linux_pselect6;

#endif
