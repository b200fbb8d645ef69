/* For the owner of a sandbox whose guest is a program. */
#ifndef HL_ABI_LINUX_LINUX_H
#define HL_ABI_LINUX_LINUX_H

#include "abi/linux/process.h"

/* What a sandbox's ABI is, if that is the one; or NULL. */
struct hl_linux *hl_linux_of(struct hl_abi *abi);

/* From now on what the program does is not trusted: the system calls that it
 * made until now stay patched, whatever memory is put back.  Those of later
 * ones are undone with a restore: a guest can say of any two bytes of code
 * that look like a system call that they are one. */
void hl_linux_trust(struct hl_linux *linux_);

/* What it is asked in its next run: the caller's, who keeps it until the
 * program has answered. */
void hl_linux_ask(struct hl_linux *linux_, const void *request, size_t size);

/* Forget what it wrote so far. */
void hl_linux_drop_output(struct hl_linux *linux_);

#endif
