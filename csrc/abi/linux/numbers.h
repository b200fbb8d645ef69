/* What system calls are called. */
#ifndef HL_ABI_LINUX_NUMBERS_H
#define HL_ABI_LINUX_NUMBERS_H

#include "base.h"

/* The name of one on x86-64, or NULL. */
const char *hl_linux_call_name(uint64_t number);

#endif
