#include <stdlib.h>
#include <string.h>

#include "fake/whp/inside.h"

static _Atomic long switches[FAKE_SWITCHES];
static _Atomic long counters[FAKE_COUNTERS];

static struct {
    atomic_int kind;
    _Atomic long left; /* 0: no plan */
    long result;
    bool after;
} plan;

/* The call under way on this thread fails so in the end; 0: it does not. */
static _Thread_local HRESULT lost;

void fake_whp_switch(int which, long value)
{
    if (which >= 0 && which < FAKE_SWITCHES)
        atomic_store(&switches[which], value);
}

long fake_whp_switched(int which)
{
    return which >= 0 && which < FAKE_SWITCHES ? atomic_load(&switches[which])
                                               : 0;
}

long fake_whp_count(int which)
{
    return which >= 0 && which < FAKE_COUNTERS ? atomic_load(&counters[which])
                                               : 0;
}

void fake_count(int which, long by) { atomic_fetch_add(&counters[which], by); }

static void as_the_environment_says(void)
{
    const char *said = getenv("HYPERLIGHT_FAKE_WHP");

    fake_whp_switch(FAKE_REFUSE_FLAG, said && strcmp(said, "refuses") == 0);
    fake_whp_switch(FAKE_MISSED_REARM, said && strcmp(said, "misses") == 0);
}

__attribute__((constructor)) static void begin(void)
{
    as_the_environment_says();
    hl_emulator_set_library(getenv("HYPERLIGHT_UNICORN"));
}

void fake_whp_reset(void)
{
    for (int i = 0; i < FAKE_SWITCHES; i++)
        atomic_store(&switches[i], 0);
    as_the_environment_says();
    for (int i = 0; i < FAKE_PARTITIONS; i++)
        atomic_store(&counters[i], 0);
    atomic_store(&plan.left, 0);
}

void fake_whp_fail(int kind, long nth, long result, bool after)
{
    atomic_store(&plan.left, 0);
    plan.result = result;
    plan.after = after;
    atomic_store(&plan.kind, kind);
    atomic_store(&plan.left, nth);
}

long fake_whp_fail_left(void) { return atomic_load(&plan.left); }

/* Whether the plan is for this very call. */
static bool is_planned(enum fake_kind kind)
{
    long left = atomic_load(&plan.left);
    int wanted = atomic_load(&plan.kind);

    if (wanted != FAKE_ANY && wanted != (int)kind)
        return false;
    while (left > 0)
        if (atomic_compare_exchange_weak(&plan.left, &left, left - 1))
            return left == 1;
    return false;
}

bool fake_begin(enum fake_kind kind, HRESULT *result)
{
    lost = 0;
    fake_count(FAKE_CALLS + (int)kind, 1);
    if (!is_planned(kind))
        return true;
    fake_count(FAKE_FAILED, 1);
    *result = (HRESULT)plan.result;
    if (plan.after)
        lost = *result;
    return plan.after;
}

bool fake_is_lost(void) { return lost != 0; }

HRESULT fake_end(HRESULT result)
{
    HRESULT said = lost;

    lost = 0;
    return FAILED(result) || said == 0 ? result : said;
}
