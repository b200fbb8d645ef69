#include "vm/whp/calls.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "os/library.h"
#include "os/lock.h"

#define LIBRARY "WinHvPlatform.dll"

static struct hl_lock lock;
static struct hl_whp_calls library; /* guarded by it, until it is loaded */
static bool loaded;
static _Atomic(const struct hl_whp_calls *) others;

#define FUNCTION(name_, field_, needed_)                                      \
    {.name = (name_),                                                         \
     .at = offsetof(struct hl_whp_calls, field_),                             \
     .needed = (needed_)}

static const struct {
    const char *name;
    size_t at;
    bool needed;
} functions[] = {
    FUNCTION("WHvGetCapability", get_capability, true),
    FUNCTION("WHvCreatePartition", create_partition, true),
    FUNCTION("WHvSetupPartition", setup_partition, true),
    FUNCTION("WHvDeletePartition", delete_partition, true),
    FUNCTION("WHvSetPartitionProperty", set_property, true),
    FUNCTION("WHvMapGpaRange", map, true),
    FUNCTION("WHvCreateVirtualProcessor", create_cpu, true),
    FUNCTION("WHvRunVirtualProcessor", run, true),
    FUNCTION("WHvCancelRunVirtualProcessor", cancel, true),
    FUNCTION("WHvGetVirtualProcessorRegisters", get, true),
    FUNCTION("WHvSetVirtualProcessorRegisters", set, true),
    FUNCTION("WHvGetVirtualProcessorXsaveState", get_xsave, false),
    FUNCTION("WHvSetVirtualProcessorXsaveState", set_xsave, false),
    FUNCTION("WHvGetVirtualProcessorState", get_state, false),
    FUNCTION("WHvSetVirtualProcessorState", set_state, false),
    FUNCTION("WHvQueryGpaRangeDirtyBitmap", query_dirty, false),
};

/* Windows' own, not one that lies beside a program. */
static void *open_library(void)
{
    char path[MAX_PATH + sizeof "\\" LIBRARY], why[HL_WHY_SIZE];
    UINT length = GetSystemDirectoryA(path, MAX_PATH);

    if (length == 0 || length >= MAX_PATH)
        return NULL;
    memcpy(path + length, "\\" LIBRARY, sizeof "\\" LIBRARY);
    return hl_library_load(path, why);
}

static bool load(char *why)
{
    void *handle = open_library();

    if (handle == NULL) {
        (void)hl_why(why, 0,
                     "no " LIBRARY ": switch on the Windows feature 'Windows "
                     "Hypervisor Platform' (HypervisorPlatform)");
        return false;
    }
    for (size_t i = 0; i < HL_ARRAY_SIZE(functions); i++) {
        void *function = hl_library_find(handle, functions[i].name);
        if (function == NULL && functions[i].needed) {
            (void)hl_why(why, 0,
                         LIBRARY " has no %s: Windows 10 1803 is needed",
                         functions[i].name);
            return false;
        }
        memcpy((char *)&library + functions[i].at, &function, sizeof function);
    }
    return true;
}

#ifdef HL_FAULT_INJECTION
/* The test build takes them from another library, in child processes, too. */
static bool load_any(char *why)
{
    const char *path = getenv("HYPERLIGHT_FAKE_WHP_LIBRARY");

    if (path == NULL || *path == 0)
        return load(why);
    void *fake = hl_library_load(path, why);
    const void *calls = fake ? hl_library_find(fake, "fake_whp_calls") : NULL;
    if (calls != NULL)
        memcpy(&library, calls, sizeof library);
    return calls != NULL;
}
#else
#define load_any load
#endif

const struct hl_whp_calls *hl_whp_calls(char *why)
{
    const struct hl_whp_calls *found = atomic_load(&others);

    if (found)
        return found;
    hl_lock_acquire(&lock);
    if (!loaded)
        loaded = load_any(why);
    bool done = loaded;
    hl_lock_release(&lock);
    return done ? &library : NULL;
}

void hl_whp_use_calls(const struct hl_whp_calls *calls)
{
    atomic_store(&others, calls);
}

#define OF_WIN32(error) ((HRESULT)(0x80070000 | (error)))

int hl_whp_errno(HRESULT result)
{
    switch (result) {
    case OF_WIN32(ERROR_OUTOFMEMORY):
    case OF_WIN32(ERROR_NOT_ENOUGH_MEMORY):
    case OF_WIN32(ERROR_NO_SYSTEM_RESOURCES):
    case OF_WIN32(ERROR_COMMITMENT_LIMIT):
        return -ENOMEM;
    case OF_WIN32(ERROR_ACCESS_DENIED):
        return -EACCES;
    default:
        return FAILED(result) ? -EIO : 0;
    }
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_LIBRARY);
}
