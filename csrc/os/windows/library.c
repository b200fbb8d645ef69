#include "os/library.h"

#include <windows.h>

#include <stdatomic.h>
#include <string.h>

/* By its path alone, with its own folder for what it needs: a name is not
 * looked for in the current folder. */
void *hl_library_load(const char *path, char *why)
{
    wchar_t wide[4096];
    HMODULE library = NULL;

    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide,
                            HL_ARRAY_SIZE(wide)) > 0)
        library = LoadLibraryExW(wide, NULL,
                                 strpbrk(path, "/\\")
                                     ? LOAD_WITH_ALTERED_SEARCH_PATH
                                     : LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    if (library == NULL)
        (void)hl_why(why, 0, "%s: error %lu", path,
                     (unsigned long)GetLastError());
    return library;
}

/* Committed at a time. */
#define STEP ((size_t)64 << 10)

static void *_Atomic commits;

/* Was this reserved to be committed when it is touched?  By the library's own
 * code, anything but for no access, as our guard pages are; by code that it
 * called (memcpy), what is to hold code. */
static bool is_its(const void *code, const MEMORY_BASIC_INFORMATION *data)
{
    MEMORY_BASIC_INFORMATION where;

    if (data->State != MEM_RESERVE)
        return false;
    if (data->AllocationProtect == PAGE_EXECUTE_READWRITE)
        return true;
    return data->AllocationProtect != PAGE_NOACCESS &&
           VirtualQuery(code, &where, sizeof where) != 0 &&
           where.AllocationBase == atomic_load(&commits);
}

/* Libraries that do so by a handler of their own may ask for more than there
 * is left of a reservation, and end the process then: Unicorn asks for 4 MiB.
 * Asked last, when nobody else knows a way. */
static LONG CALLBACK commit(PEXCEPTION_POINTERS pointers)
{
    const EXCEPTION_RECORD *r = pointers->ExceptionRecord;
    MEMORY_BASIC_INFORMATION data;

    if (r->ExceptionCode != EXCEPTION_ACCESS_VIOLATION ||
        r->NumberParameters < 2 ||
        VirtualQuery((const void *)r->ExceptionInformation[1], &data,
                     sizeof data) == 0 ||
        !is_its(r->ExceptionAddress, &data))
        return EXCEPTION_CONTINUE_SEARCH;
    return VirtualAlloc(data.BaseAddress,
                        data.RegionSize < STEP ? data.RegionSize : STEP,
                        MEM_COMMIT, data.AllocationProtect)
               ? EXCEPTION_CONTINUE_EXECUTION
               : EXCEPTION_CONTINUE_SEARCH;
}

int hl_library_commits(void *library)
{
    if (atomic_exchange(&commits, library) != NULL)
        return 0;
    return AddVectoredExceptionHandler(0, commit) ? 0 : -ENOMEM;
}

void *hl_library_find(void *library, const char *name)
{
    FARPROC function = GetProcAddress(library, name);
    void *found;

    memcpy(&found, &function, sizeof found);
    return found;
}
