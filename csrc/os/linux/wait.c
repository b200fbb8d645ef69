#include "os/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t read_clock(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t hl_now(void) { return read_clock(CLOCK_MONOTONIC); }

uint64_t hl_real_time(void) { return read_clock(CLOCK_REALTIME); }

/* FUTEX_WAIT_BITSET: its time is absolute, so that a wait that is repeated
 * does not begin again. */
void hl_wait(_Atomic uint32_t *word, uint32_t value, uint64_t until)
{
    struct timespec t = {(time_t)(until / 1000000000),
                         (long)(until % 1000000000)};

    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG,
                  value, &t, NULL, FUTEX_BITSET_MATCH_ANY);
}

void hl_wake(_Atomic uint32_t *word)
{
    int saved = errno;

    (void)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX,
                  NULL, NULL, 0);
    errno = saved;
}
