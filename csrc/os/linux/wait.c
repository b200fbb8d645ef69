#include "os/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t hl_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

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
