#include "fake/mshv/switches.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic long switches[FAKE_SWITCHES] = {[FAKE_FRAMES_EVERY] = 1};
static _Atomic long counters[FAKE_COUNTERS];

static struct {
    atomic_int kind;
    _Atomic long left; /* 0: no plan */
    int error;
    bool after;
} plan;

/* The call under way on this thread fails so in the end; 0: it does not. */
static _Thread_local int lost;

void fake_mshv_switch(int which, long value)
{
    if (which >= 0 && which < FAKE_SWITCHES)
        atomic_store(&switches[which], value);
}

long fake_mshv_switched(int which)
{
    return which >= 0 && which < FAKE_SWITCHES ? atomic_load(&switches[which])
                                               : 0;
}

long fake_mshv_count(int which)
{
    return which >= 0 && which < FAKE_COUNTERS ? atomic_load(&counters[which])
                                               : 0;
}

void fake_count(int which, long by) { atomic_fetch_add(&counters[which], by); }

static void as_the_environment_says(void)
{
    const char *interface = getenv("HYPERLIGHT_FAKE_MSHV");

    atomic_store(&switches[FAKE_OLDER],
                 interface && strcmp(interface, "older") == 0);
}

__attribute__((constructor)) static void begin(void)
{
    as_the_environment_says();
}

void fake_mshv_reset(void)
{
    for (int i = 0; i < FAKE_SWITCHES; i++)
        atomic_store(&switches[i], i == FAKE_FRAMES_EVERY);
    as_the_environment_says();
    for (int i = 0; i < FAKE_PARTITIONS; i++)
        atomic_store(&counters[i], 0);
    atomic_store(&plan.left, 0);
}

void fake_mshv_fail(int kind, long nth, int error, bool after)
{
    atomic_store(&plan.left, 0);
    plan.error = error;
    plan.after = after;
    atomic_store(&plan.kind, kind);
    atomic_store(&plan.left, nth);
}

long fake_mshv_fail_left(void) { return atomic_load(&plan.left); }

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

int fake_begin(enum fake_kind kind, _Atomic uint64_t *once)
{
    const uint64_t bit = UINT64_C(1) << kind;

    lost = 0;
    fake_count(FAKE_CALLS + (int)kind, 1);
    if (is_planned(kind)) {
        if (!plan.after) {
            fake_count(FAKE_FAILED, 1);
            return -plan.error;
        }
        lost = plan.error;
    }
    if (once && (uint64_t)fake_mshv_switched(FAKE_EINTR_ONCE) & bit) {
        if ((*once ^= bit) & bit) {
            fake_count(FAKE_FAILED, 1);
            return -EINTR;
        }
    }
    return 0;
}

int fake_end(int rc)
{
    int error = lost;

    lost = 0;
    if (rc < 0 || error == 0)
        return rc;
    fake_count(FAKE_FAILED, 1);
    return -error;
}

/* The kernel's way of finding out what is an address, without a crash. */
int fake_copy_in(void *to, uint64_t from, size_t size)
{
    struct iovec mine = {to, size}, its = {(void *)(uintptr_t)from, size};

    return process_vm_readv(getpid(), &mine, 1, &its, 1, 0) == (ssize_t)size
               ? 0
               : -EFAULT;
}

int fake_copy_out(uint64_t to, const void *from, size_t size)
{
    struct iovec mine = {(void *)(uintptr_t)from, size};
    struct iovec its = {(void *)(uintptr_t)to, size};

    if (lost)
        return 0;
    return process_vm_writev(getpid(), &mine, 1, &its, 1, 0) == (ssize_t)size
               ? 0
               : -EFAULT;
}

bool fake_is_zero(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;

    for (size_t i = 0; i < size; i++)
        if (at[i])
            return false;
    return true;
}
