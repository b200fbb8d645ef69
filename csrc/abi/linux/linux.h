/* For the owner of a sandbox whose guest is a program: all of it by whoever
 * has the sandbox's turn, or before anybody else knows the sandbox. */
#ifndef HL_ABI_LINUX_LINUX_H
#define HL_ABI_LINUX_LINUX_H

#include "abi/linux/given.h"
#include "abi/linux/process.h"

/* What a sandbox's ABI is, if that is the one; or NULL. */
struct hl_linux *hl_linux_of(struct hl_abi *abi);

/* From now on what the program does is not trusted: the system calls that it
 * made until now stay patched, whatever memory is put back.  Those of later
 * ones are undone with a restore: a guest can say of any two bytes of code
 * that look like a system call that they are one. */
void hl_linux_trust(struct hl_linux *linux_);

/* Limits of each exchange, and of files that are open at once, up to
 * HL_LINUX_FILES.  streams: HL_LEFT_OUTPUT comes after each output. */
struct hl_linux_settings {
    size_t output;
    uint64_t calls;
    uint32_t files;
    bool streams;
};
void hl_linux_set(struct hl_linux *linux_,
                  const struct hl_linux_settings *settings);

/* Where it begins to work: -ENOTDIR. */
int hl_linux_work_in(struct hl_linux *linux_, uint32_t node) HL_MUST_CHECK;

/* The bytes of standard input: the caller's, as long as the program lives. */
void hl_linux_set_input(struct hl_linux *linux_, const void *bytes,
                        size_t size);

/* Time stands still for the program at this time of the day, but for what it
 * sleeps; 0: it goes on. */
void hl_linux_freeze_time(struct hl_linux *linux_, uint64_t time);

/* What it is asked in its next run: the caller's, who keeps it until the
 * program has answered. */
void hl_linux_request(struct hl_linux *linux_, const void *request,
                      size_t size);

/* Bytes that it wrote: to standard output (0) and error (1) since the last
 * drop; and of its answer (2). */
const char *hl_linux_said(const struct hl_linux *linux_, int which,
                          size_t *size);
/* Forget what it wrote so far to standard output and error. */
void hl_linux_drop_output(struct hl_linux *linux_);

/* How it ended, and *number. */
enum hl_linux_end hl_linux_ended(const struct hl_linux *linux_, int *number);
enum hl_linux_limit hl_linux_limit_of(const struct hl_linux *linux_);
/* HL_LEFT_ASKS: for what. */
struct hl_linux_ask hl_linux_asked(const struct hl_linux *linux_);
/* How often the call of that number was not served since the start, or since
 * memory was put back; the last one stands for all that are greater.  Calls in
 * all since the exchange began. */
uint32_t hl_linux_refused(const struct hl_linux *linux_, size_t number);
uint64_t hl_linux_calls_made(const struct hl_linux *linux_);

#endif
