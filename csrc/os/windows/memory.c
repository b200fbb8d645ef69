#include "os/memory.h"

#include <stdatomic.h>
#include <windows.h>

#include <bcrypt.h>

#include "os/windows/watched.h"

#ifndef ERROR_DYNAMIC_CODE_BLOCKED
#define ERROR_DYNAMIC_CODE_BLOCKED 1655
#endif

/* Committed where it is usable: Windows counts that against the system's
 * memory and page file at once, though it uses none before the first touch. */
const struct hl_backing hl_anonymous = {
    .name = "anonymous",
    .flags = 0,
};

const struct hl_backing hl_watchable = {
    .name = "watched",
    .flags = MEM_WRITE_WATCH,
};

const char hl_memory_call[] = "VirtualAlloc",
           hl_protect_call[] = "VirtualProtect";

size_t hl_page_size(void)
{
    static atomic_size_t size;
    size_t known = atomic_load_explicit(&size, memory_order_relaxed);

    if (known == 0) {
        SYSTEM_INFO info;
        GetSystemInfo(&info);
        known = info.dwPageSize;
        atomic_store_explicit(&size, known, memory_order_relaxed);
    }
    return known;
}

int hl_memory_reserve(const struct hl_backing *backing, size_t size,
                      bool usable, void **addr)
{
    DWORD type = MEM_RESERVE | (DWORD)backing->flags;

    if (backing->open)
        return -EOPNOTSUPP;
    if (usable)
        type |= MEM_COMMIT;
    void *at = VirtualAlloc(NULL, size, type,
                            usable ? PAGE_READWRITE : PAGE_NOACCESS);
    if (at == NULL)
        return -ENOMEM;
    if (backing->flags & MEM_WRITE_WATCH)
        hl_watched_add(at, size);
    *addr = at;
    return 0;
}

int hl_memory_allow(void *addr, size_t size)
{
    return VirtualAlloc(addr, size, MEM_COMMIT, PAGE_READWRITE) ? 0 : -ENOMEM;
}

/* Reservations go as a whole, one at a time; os/joined.h puts adjoining ones
 * together. */
void hl_memory_release(void *addr, size_t size)
{
    char *at = addr, *end = at + size;
    MEMORY_BASIC_INFORMATION info;

    while (at < end && VirtualQuery(at, &info, sizeof info) != 0) {
        char *base = info.AllocationBase;
        char *next = (char *)info.BaseAddress + info.RegionSize;
        while (next < end && VirtualQuery(next, &info, sizeof info) != 0 &&
               info.AllocationBase == base)
            next = (char *)info.BaseAddress + info.RegionSize;
        if (base == at) {
            hl_watched_remove(at);
            (void)VirtualFree(at, 0, MEM_RELEASE);
        }
        at = next;
    }
}

int hl_memory_guard(void *addr, size_t size)
{
    DWORD before;

    return VirtualProtect(addr, size, PAGE_NOACCESS, &before) ? 0 : -ENOMEM;
}

int hl_memory_try_executable(size_t size)
{
    void *tried = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT,
                               PAGE_EXECUTE_READWRITE);

    if (tried == NULL)
        return GetLastError() == ERROR_DYNAMIC_CODE_BLOCKED ? -EACCES
                                                            : -ENOMEM;
    (void)VirtualFree(tried, 0, MEM_RELEASE);
    return 0;
}

/* Large pages are a privilege here, and never made of small ones. */
void hl_memory_want_huge(void *addr, size_t size, bool wanted)
{
    (void)addr;
    (void)size;
    (void)wanted;
}

bool hl_memory_collapse(void *addr, size_t size)
{
    (void)addr;
    (void)size;
    return false;
}

/* To decommit is to lose it: other code may take the room, and there is no way
 * back. */
bool hl_memory_drop(void *addr, size_t size)
{
    (void)addr;
    (void)size;
    return false;
}

void hl_memory_forget(void *addr, size_t size)
{
    (void)VirtualAlloc(addr, size, MEM_RESET, PAGE_READWRITE);
}

int hl_random(void *to, size_t size)
{
    NTSTATUS status = BCryptGenRandom(NULL, to, (ULONG)size,
                                      BCRYPT_USE_SYSTEM_PREFERRED_RNG);
    return status == 0 ? 0 : -EIO;
}
