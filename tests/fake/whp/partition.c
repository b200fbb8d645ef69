#include <stdlib.h>
#include <string.h>

#include "fake/whp/inside.h"

#define MOST 1024

static SRWLOCK lock = SRWLOCK_INIT; /* of the list */
static struct fake_partition *partitions[MOST];

static size_t find(const struct fake_partition *p)
{
    size_t i = 0;

    while (i < MOST && partitions[i] != p)
        i++;
    return i;
}

struct fake_partition *fake_take(WHV_PARTITION_HANDLE handle)
{
    struct fake_partition *p = handle;

    AcquireSRWLockShared(&lock);
    bool alive = p != NULL && find(p) < MOST;
    ReleaseSRWLockShared(&lock);
    if (!alive) {
        fake_count(FAKE_VIOLATIONS, 1);
        return NULL;
    }
    AcquireSRWLockExclusive(&p->lock);
    return p;
}

void fake_release(struct fake_partition *p)
{
    ReleaseSRWLockExclusive(&p->lock);
}

void *fake_host(const struct fake_partition *p, uint64_t addr, uint64_t size)
{
    for (size_t i = 0; i < p->range_count; i++) {
        const struct fake_range *r = &p->ranges[i];
        if (addr >= r->addr && addr - r->addr < r->size &&
            size <= r->size - (addr - r->addr))
            return r->host + (addr - r->addr);
    }
    return NULL;
}

bool fake_other_has_memory(const struct fake_partition *p)
{
    bool found = false;

    AcquireSRWLockShared(&lock);
    for (size_t i = 0; i < MOST; i++)
        found = found || (partitions[i] && partitions[i] != p &&
                          partitions[i]->range_count > 0);
    ReleaseSRWLockShared(&lock);
    return found;
}

HRESULT WINAPI fake_capability(WHV_CAPABILITY_CODE code, void *buffer,
                               UINT32 size, UINT32 *written)
{
    WHV_CAPABILITY capability = {0};

    FAKE_BEGIN(FAKE_CAPABILITY);
    if (code != WHvCapabilityCodeHypervisorPresent ||
        size < sizeof capability.HypervisorPresent) {
        fake_count(FAKE_VIOLATIONS, 1);
        return E_INVALIDARG;
    }
    capability.HypervisorPresent = !fake_whp_switched(FAKE_NO_HYPERVISOR);
    memcpy(buffer, &capability, sizeof capability.HypervisorPresent);
    *written = sizeof capability.HypervisorPresent;
    return fake_end(S_OK);
}

static void destroy(struct fake_partition *p)
{
    AcquireSRWLockExclusive(&lock);
    partitions[find(p)] = NULL;
    ReleaseSRWLockExclusive(&lock);
    fake_engine_end(p);
    fake_unmap_all(p);
    free(p);
    fake_count(FAKE_PARTITIONS, -1);
}

HRESULT WINAPI fake_create(WHV_PARTITION_HANDLE *out)
{
    FAKE_BEGIN(FAKE_CREATE);
    struct fake_partition *p = calloc(1, sizeof *p);
    if (p == NULL)
        return E_OUTOFMEMORY;
    InitializeSRWLock(&p->lock);
    InitializeSRWLock(&p->engine_lock);
    fake_registers_reset(p);
    AcquireSRWLockExclusive(&lock);
    size_t free_one = find(NULL);
    if (free_one < MOST)
        partitions[free_one] = p;
    ReleaseSRWLockExclusive(&lock);
    if (free_one == MOST) {
        free(p);
        return E_OUTOFMEMORY;
    }
    fake_count(FAKE_PARTITIONS, 1);
    if (fake_is_lost())
        destroy(p);
    else
        *out = p;
    return fake_end(S_OK);
}

/* It is gone whatever is said. */
HRESULT WINAPI fake_delete(WHV_PARTITION_HANDLE handle)
{
    HRESULT result;
    bool goes = fake_begin(FAKE_DELETE, &result);
    struct fake_partition *p = fake_take(handle);

    if (p == NULL)
        return E_INVALIDARG;
    fake_release(p);
    destroy(p);
    return goes ? fake_end(S_OK) : result;
}

HRESULT WINAPI fake_property(WHV_PARTITION_HANDLE handle,
                             WHV_PARTITION_PROPERTY_CODE code,
                             const void *buffer, UINT32 size)
{
    FAKE_BEGIN(FAKE_PROPERTY);
    struct fake_partition *p = fake_take(handle);
    if (p == NULL)
        return E_INVALIDARG;
    bool ok = code == WHvPartitionPropertyCodeProcessorCount &&
              size == sizeof p->processors && !p->set_up;
    if (ok)
        memcpy(&p->processors, buffer, size);
    else
        fake_count(FAKE_VIOLATIONS, 1);
    fake_release(p);
    return fake_end(ok ? S_OK : E_INVALIDARG);
}

HRESULT WINAPI fake_setup(WHV_PARTITION_HANDLE handle)
{
    FAKE_BEGIN(FAKE_SETUP);
    struct fake_partition *p = fake_take(handle);
    if (p == NULL)
        return E_INVALIDARG;
    bool ok = !p->set_up && p->processors > 0;
    p->set_up = p->set_up || ok;
    fake_release(p);
    if (!ok)
        fake_count(FAKE_VIOLATIONS, 1);
    return fake_end(ok ? S_OK : E_INVALIDARG);
}

HRESULT WINAPI fake_create_cpu(WHV_PARTITION_HANDLE handle, UINT32 index,
                               UINT32 flags)
{
    FAKE_BEGIN(FAKE_CREATE_CPU);
    struct fake_partition *p = fake_take(handle);
    if (p == NULL)
        return E_INVALIDARG;
    bool ok = p->set_up && !p->has_cpu && index < p->processors && flags == 0;
    p->has_cpu = p->has_cpu || ok;
    fake_release(p);
    if (!ok)
        fake_count(FAKE_VIOLATIONS, 1);
    return fake_end(ok ? S_OK : E_INVALIDARG);
}

#define COMMON                                                                \
    .get_capability = fake_capability, .create_partition = fake_create,       \
    .setup_partition = fake_setup, .delete_partition = fake_delete,           \
    .set_property = fake_property, .map = fake_map,                           \
    .create_cpu = fake_create_cpu, .run = fake_run, .cancel = fake_cancel,    \
    .get = fake_get, .set = fake_set

static HRESULT WINAPI get_state(WHV_PARTITION_HANDLE handle, UINT32 index,
                                WHV_VIRTUAL_PROCESSOR_STATE_TYPE type,
                                void *buffer, UINT32 size, UINT32 *written)
{
    return type == WHvVirtualProcessorStateTypeXsaveState
               ? fake_get_xsave(handle, index, buffer, size, written)
               : E_INVALIDARG;
}

static HRESULT WINAPI set_state(WHV_PARTITION_HANDLE handle, UINT32 index,
                                WHV_VIRTUAL_PROCESSOR_STATE_TYPE type,
                                const void *buffer, UINT32 size)
{
    return type == WHvVirtualProcessorStateTypeXsaveState
               ? fake_set_xsave(handle, index, buffer, size)
               : E_INVALIDARG;
}

const struct hl_whp_calls fake_whp_calls = {
    COMMON,
    .get_xsave = fake_get_xsave,
    .set_xsave = fake_set_xsave,
    .query_dirty = fake_query,
};

const struct hl_whp_calls fake_whp_calls_1803 = {
    COMMON,
    .get_xsave = fake_get_xsave,
    .set_xsave = fake_set_xsave,
};

const struct hl_whp_calls fake_whp_calls_later = {
    COMMON,
    .get_state = get_state,
    .set_state = set_state,
    .query_dirty = fake_query,
};
