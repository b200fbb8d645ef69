/* What time it is, and waiting for a time. */
#ifndef HL_ABI_LINUX_CLOCK_H
#define HL_ABI_LINUX_CLOCK_H

#include "abi/linux/process.h"

hl_linux_call hl_linux_clock_gettime, hl_linux_clock_getres,
    hl_linux_gettimeofday, hl_linux_time, hl_linux_getrusage, hl_linux_times,
    hl_linux_nanosleep, hl_linux_clock_nanosleep, hl_linux_pause;

/* Never. */
#define HL_LINUX_NEVER UINT64_MAX

/* In a call that may have to wait for so many ns: are they over?  If not, it
 * returns HL_LINUX_WAITS, and is served again when they may be: then this goes
 * by what was said the first time. */
bool hl_linux_time_is_up(struct hl_linux *linux_, uint64_t ns);

/* Its struct timespec in ns: HL_LINUX_NEVER where that is too far away.
 * -EFAULT, -EINVAL. */
int hl_linux_get_time(const struct hl_linux *linux_, uint64_t addr,
                      uint64_t *ns) HL_MUST_CHECK;

int hl_linux_get_timeval(const struct hl_linux *linux_, uint64_t addr,
                         uint64_t *ns) HL_MUST_CHECK;
uint64_t hl_linux_ms(int32_t ms); /* less than 0: never */

/* ns since it began, for timers; and to go on to there where time is frozen.
 */
uint64_t hl_linux_passed(const struct hl_linux *linux_);
void hl_linux_pass(struct hl_linux *linux_, uint64_t until);

/* When a call that waits is to be served again, as hl_now says it: a timer
 * ends then, too; 0: there is none. */
uint64_t hl_linux_wakes_at(const struct hl_linux *linux_, uint64_t alarm_at);

#endif
