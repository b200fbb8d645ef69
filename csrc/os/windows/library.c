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

/* Libraries that do so by a handler of their own may ask for more than there
 * is left of a reservation, and end the process then: Unicorn asks for 4 MiB.
 * Our own guard pages are reserved, too, but for no access. */
static LONG CALLBACK commit(PEXCEPTION_POINTERS pointers)
{
    const EXCEPTION_RECORD *r = pointers->ExceptionRecord;
    MEMORY_BASIC_INFORMATION code, data;

    if (r->ExceptionCode != EXCEPTION_ACCESS_VIOLATION ||
        r->NumberParameters < 2 ||
        VirtualQuery(r->ExceptionAddress, &code, sizeof code) == 0 ||
        code.AllocationBase != atomic_load(&commits) ||
        VirtualQuery((const void *)r->ExceptionInformation[1], &data,
                     sizeof data) == 0 ||
        data.State != MEM_RESERVE || data.AllocationProtect == PAGE_NOACCESS)
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
