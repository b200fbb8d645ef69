/* Waiting for a word to change (futex(2)), and the clock that deadlines are
 * in.  Nothing here has state of its own, so a fork needs to know nothing of
 * it. */
#ifndef HL_OS_WAIT_H
#define HL_OS_WAIT_H

#include "base.h"

/* CLOCK_MONOTONIC in ns. */
uint64_t hl_now(void);
/* The time of day: ns since 1970, UTC.  It may be set, also back. */
uint64_t hl_real_time(void);

/* Sleep while *word is `value`, until somebody wakes it, `until` (as hl_now
 * says it) has come, or a signal was handled.  May return for no reason. */
void hl_wait(_Atomic uint32_t *word, uint32_t value, uint64_t until);
/* Wake all that wait for this word.  Async-signal-safe. */
void hl_wake(_Atomic uint32_t *word);

#endif
