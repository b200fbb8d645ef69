#include "os/page.h"

#include <windows.h>

#include <psapi.h>

#include "os/memory.h"
#include "os/windows/protection.h"

static unsigned rights(uintptr_t addr)
{
    MEMORY_BASIC_INFORMATION info;

    if (VirtualQuery((const void *)addr, &info, sizeof info) == 0 ||
        info.State != MEM_COMMIT)
        return 0;
    return hl_protection_rights(info.Protect);
}

bool hl_is_writable(uintptr_t addr) { return rights(addr) & HL_PROT_WRITE; }
bool hl_is_readable(uintptr_t addr) { return rights(addr) & HL_PROT_READ; }

/* A file cannot be made shorter than what is mapped of it. */
bool hl_is_behind_end(uintptr_t addr)
{
    (void)addr;
    return false;
}

bool hl_is_in_memory(const void *addr, size_t size)
{
    const size_t page = hl_page_size();
    uintptr_t at = hl_align_down((uintptr_t)addr, page);
    uintptr_t end = (uintptr_t)addr + size;
    PSAPI_WORKING_SET_EX_INFORMATION pages[64];

    while (at < end) {
        DWORD count = 0;
        for (; at < end && count < HL_ARRAY_SIZE(pages); at += page)
            pages[count++].VirtualAddress = (void *)at;
        if (!K32QueryWorkingSetEx(GetCurrentProcess(), pages,
                                  count * (DWORD)sizeof pages[0]))
            return false;
        for (DWORD i = 0; i < count; i++)
            if (!pages[i].VirtualAttributes.Valid)
                return false;
    }
    return true;
}
