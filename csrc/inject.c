#include "inject.h"

#ifdef HL_FAULT_INJECTION
#include <stdatomic.h>
#ifdef _WIN32
#include <windows.h>
#else
#include <time.h>
#endif

/* skip in the high half, count in the low: one word, so that a pass in a
 * signal handler and a plan made elsewhere never see half of each other. */
static _Atomic uint64_t plans[HL_INJECT_POINTS];

void hl_inject_plan(enum hl_inject_point point, unsigned skip, unsigned count)
{
    atomic_store(&plans[point], (uint64_t)skip << 32 | count);
}

bool hl_inject_now(enum hl_inject_point point)
{
    uint64_t plan = atomic_load(&plans[point]);
    uint64_t next;

    do {
        if (plan == 0)
            return false;
        next = plan >> 32 ? plan - (UINT64_C(1) << 32) : plan - 1;
    } while (!atomic_compare_exchange_weak(&plans[point], &plan, next));
    return plan >> 32 == 0;
}

static void wait_for_30_us(void)
{
#ifdef _WIN32 /* where a sleep takes a millisecond at least */
    LARGE_INTEGER rate, begun, now;

    QueryPerformanceFrequency(&rate);
    QueryPerformanceCounter(&begun);
    do {
        (void)SwitchToThread();
        QueryPerformanceCounter(&now);
    } while ((now.QuadPart - begun.QuadPart) * 1000000 < 30 * rate.QuadPart);
#else
    nanosleep(&(struct timespec){.tv_nsec = 30000}, NULL);
#endif
}

void hl_linger(void)
{
    if (hl_inject_now(HL_INJECT_LINGER))
        wait_for_30_us();
}
#endif
