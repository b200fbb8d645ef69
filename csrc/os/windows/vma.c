#include "os/vma.h"

#include <windows.h>

#include <psapi.h>

#include "os/memory.h"
#include "os/windows/heaps.h"
#include "os/windows/protection.h"

static bool is_of_file(const void *addr)
{
    wchar_t name[MAX_PATH];

    return K32GetMappedFileNameW(GetCurrentProcess(), (void *)addr, name,
                                 MAX_PATH) != 0;
}

static unsigned kind_of(const MEMORY_BASIC_INFORMATION *info)
{
    const DWORD copies = PAGE_WRITECOPY | PAGE_EXECUTE_WRITECOPY;

    if (info->Type == MEM_PRIVATE)
        return HL_KIND_PRIVATE;
    if (info->Type == MEM_IMAGE || info->AllocationProtect & copies)
        return HL_KIND_FILE_COPY;
    return is_of_file(info->BaseAddress) ? HL_KIND_FILE : HL_KIND_SHARED;
}

/* The piece of one protection at `at`; false: nothing is mapped there. */
static bool piece_at(uintptr_t at, MEMORY_BASIC_INFORMATION *info,
                     uintptr_t *end)
{
    if (VirtualQuery((const void *)at, info, sizeof *info) == 0) {
        *end = UINTPTR_MAX; /* above what a process may have */
        return false;
    }
    *end = (uintptr_t)info->BaseAddress + info->RegionSize;
    return info->State == MEM_COMMIT;
}

static bool holds(uintptr_t start, uintptr_t end, const volatile void *what)
{
    return start <= (uintptr_t)what && (uintptr_t)what < end;
}

/* Memory that this library itself uses: restoring it would overwrite the state
 * of the restore under way. */
static unsigned own_kinds(uintptr_t start, uintptr_t end, unsigned kinds)
{
    static volatile char data = 1, bss;
    ULONG_PTR low, high;

    if (kinds & HL_KIND_PRIVATE && hl_heaps_own(start, end))
        kinds = (kinds & ~(unsigned)HL_KIND_PRIVATE) | HL_KIND_OWN_HEAP;
    GetCurrentThreadStackLimits(&low, &high);
    if (start < high && low < end)
        kinds |= HL_KIND_STACK;
    if (holds(start, end, &data) || holds(start, end, &bss) ||
        holds(start, end, &errno))
        kinds |= HL_KIND_LIBRARY;
    return kinds;
}

int hl_vma_query(const void *addr, size_t size, struct hl_vma *vma)
{
    uintptr_t start = (uintptr_t)addr, at = start, end = start + size, next;
    MEMORY_BASIC_INFORMATION info;

    *vma = (struct hl_vma){.anonymous = true, .page_size = hl_page_size()};
    for (; at < end; at = next) {
        if (!piece_at(at, &info, &next))
            return -EFAULT;
        int prot = (int)hl_protection_rights(info.Protect);
        if (at != start && prot != vma->prot)
            return -EINVAL;
        vma->prot = prot;
        vma->kinds |= kind_of(&info);
        vma->anonymous = vma->anonymous && info.Type == MEM_PRIVATE;
    }
    vma->kinds = own_kinds(start, end, vma->kinds);
    return 0;
}

int hl_vma_allows(const void *addr, size_t size, int prot)
{
    uintptr_t at = (uintptr_t)addr, end = at + size, next;
    MEMORY_BASIC_INFORMATION info;
    int err = 0;

    /* A hole is worse than a missing right, so the walk goes on after one. */
    for (; at < end; at = next) {
        if (!piece_at(at, &info, &next))
            return -EFAULT;
        if (~hl_protection_rights(info.Protect) & (unsigned)prot)
            err = -EACCES;
    }
    return err;
}

int hl_vma_each(const void *addr, size_t size, hl_vma_found *found,
                void *context)
{
    uintptr_t at = (uintptr_t)addr, end = at + size, next;
    MEMORY_BASIC_INFORMATION info;

    for (; at < end; at = next)
        if (piece_at(at, &info, &next))
            found(context, at, next < end ? next : end,
                  (int)hl_protection_rights(info.Protect), kind_of(&info));
    return 0;
}

bool hl_vma_is_mapped(const void *addr, size_t size)
{
    return hl_vma_allows(addr, size, 0) == 0;
}

/* Whoever asks this could not ask for rights, which is always possible here.
 */
bool hl_vma_populate(const void *addr, size_t size, int prot)
{
    return hl_vma_allows(addr, size, prot) == 0;
}

bool hl_vma_wants_huge(const void *addr)
{
    (void)addr;
    return false;
}

/* No tracker here takes a page that is not in memory for one that never was.
 */
bool hl_may_be_swapped(const void *addr, size_t size)
{
    (void)addr;
    (void)size;
    return false;
}
