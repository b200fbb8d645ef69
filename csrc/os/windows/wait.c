#include "os/wait.h"

#include <windows.h>

#define NS_PER_MS 1000000

/* Of the performance counter, whose rate is fixed at boot. */
uint64_t hl_now(void)
{
    LARGE_INTEGER ticks, rate;

    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    uint64_t t = (uint64_t)ticks.QuadPart, f = (uint64_t)rate.QuadPart;
    return t / f * 1000000000 + t % f * 1000000000 / f;
}

/* In units of 100 ns since 1601. */
uint64_t hl_real_time(void)
{
    FILETIME t;

    GetSystemTimePreciseAsFileTime(&t);
    uint64_t units = (uint64_t)t.dwHighDateTime << 32 | t.dwLowDateTime;
    return (units - UINT64_C(116444736000000000)) * 100;
}

/* Waits are in ms, and too long rather than too short: one that ended before
 * its time would be made again and again. */
void hl_wait(_Atomic uint32_t *word, uint32_t value, uint64_t until)
{
    uint64_t now = hl_now();
    uint64_t ms = until <= now ? 0 : (until - now + NS_PER_MS - 1) / NS_PER_MS;

    if (ms >= INFINITE)
        ms = INFINITE - 1;
    if (ms > 0)
        (void)WaitOnAddress((volatile void *)word, &value, sizeof value,
                            (DWORD)ms);
}

void hl_wake(_Atomic uint32_t *word) { WakeByAddressAll((void *)word); }
