#include "os/library.h"

#include <windows.h>

#include <stdatomic.h>
#include <string.h>

#include "inject.h"
#include "os/windows/protection.h"

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

/* How far above a fault the library is looked for: the dispatcher of
 * exceptions, this file, and what the library called. */
#define MOST_FRAMES 32

static void *_Atomic commits, *_Atomic handler;

/* ExceptionInformation: the kind of access, and the address. */
enum { KIND_READ = 0, KIND_WRITE = 1 };

static bool is_its_code(const void *code)
{
    MEMORY_BASIC_INFORMATION where;

    return VirtualQuery(code, &where, sizeof where) != 0 &&
           where.AllocationBase == atomic_load(&commits);
}

/* Is the fault that this thread is handling one of code that it called? */
static bool is_called_by_it(void)
{
    void *frames[MOST_FRAMES];
    USHORT count = RtlCaptureStackBackTrace(0, MOST_FRAMES, frames, NULL);
    bool found = false;

    for (USHORT i = 0; i < count && !found; i++)
        found = is_its_code(frames[i]);
    return found;
}

/* Was this reserved to be committed when it is touched?  By the library's own
 * code, anything but for no access, as our guard pages are; by code that it
 * called (memcpy), what is to hold code.  Others' memory for code is theirs:
 * who touches it there meets whoever knows what that means. */
static bool is_its(const void *code, const MEMORY_BASIC_INFORMATION *data)
{
    if (data->AllocationProtect == PAGE_NOACCESS)
        return false;
    return is_its_code(code) ||
           (data->AllocationProtect == PAGE_EXECUTE_READWRITE &&
            is_called_by_it());
}

/* What has been committed since, by another thread that met the same page,
 * only has to be touched again. */
static bool serve(const EXCEPTION_RECORD *r)
{
    const ULONG_PTR kind = r->ExceptionInformation[0];
    const unsigned needed = kind == KIND_WRITE ? HL_PROT_WRITE : HL_PROT_READ;
    MEMORY_BASIC_INFORMATION data;

    /* Nothing was ever written where there is no memory yet: whoever jumps
     * there is lost, and is not to execute zeros. */
    if ((kind != KIND_READ && kind != KIND_WRITE) ||
        VirtualQuery((const void *)r->ExceptionInformation[1], &data,
                     sizeof data) == 0 ||
        data.State == MEM_FREE ||
        (data.State == MEM_COMMIT &&
         (hl_protection_rights(data.Protect) & needed) == 0) ||
        !is_its(r->ExceptionAddress, &data))
        return false;
    return data.State == MEM_COMMIT ||
           VirtualAlloc(data.BaseAddress,
                        data.RegionSize < STEP ? data.RegionSize : STEP,
                        MEM_COMMIT, data.AllocationProtect) != NULL;
}

/* Libraries that do so by a handler of their own may ask for more than there
 * is left of a reservation, and end the process then: Unicorn asks for 4 MiB.
 * It registers one with each machine, behind this one; who was there before is
 * asked first. */
static LONG CALLBACK commit(PEXCEPTION_POINTERS pointers)
{
    const EXCEPTION_RECORD *r = pointers->ExceptionRecord;

    if (r->ExceptionCode != EXCEPTION_ACCESS_VIOLATION ||
        r->NumberParameters < 2)
        return EXCEPTION_CONTINUE_SEARCH;
    DWORD last_error = GetLastError();
    bool served = serve(r);
    SetLastError(last_error);
    return served ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

/* One handler, whoever it is for: without it, the next try is a new one. */
int hl_library_commits(void *library)
{
    void *none = NULL;

    atomic_store(&commits, library);
    if (atomic_load(&handler) != NULL)
        return 0;
    void *fresh = HL_INJECT(HL_INJECT_TABLE)
                      ? NULL
                      : AddVectoredExceptionHandler(0, commit);
    if (fresh == NULL)
        return -ENOMEM;
    if (!atomic_compare_exchange_strong(&handler, &none, fresh))
        (void)RemoveVectoredExceptionHandler(fresh);
    return 0;
}

void *hl_library_find(void *library, const char *name)
{
    FARPROC function = GetProcAddress(library, name);
    void *found;

    memcpy(&found, &function, sizeof found);
    return found;
}
