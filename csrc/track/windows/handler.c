#include "track/handler.h"

#include <windows.h>

#include <signal.h>
#include <stdatomic.h>

#include "os/page.h"
#include "track/regions.h"

/* An access violation is what others call SIGSEGV. */
const int hl_handler_signals[] = {SIGSEGV};
const size_t hl_handler_signal_count = HL_ARRAY_SIZE(hl_handler_signals);

const char hl_handler_call[] = "AddVectoredExceptionHandler";

/* Ours, by what was registered: the first, which stays, and the one in front.
 */
static void *_Atomic first, *_Atomic front;

/* ExceptionInformation: the kind of access, and the address. */
enum { KIND_WRITE = 1 };

/* The handler.  It runs on the thread that faulted, which may hold any lock,
 * the heap's included: atomics, the region's open_page, and system calls; not
 * errno, which the C library may have to allocate.  If
 * the page is in no region and can be written now, the fault was on its way
 * while its region was opened and removed: it is enough to run the instruction
 * again.  What is not ours goes on to the next handler, as a first-chance
 * exception. */
static LONG CALLBACK on_fault(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *record = fault->ExceptionRecord;

    if (record->ExceptionCode != EXCEPTION_ACCESS_VIOLATION ||
        record->NumberParameters < 2 ||
        record->ExceptionInformation[0] != KIND_WRITE)
        return EXCEPTION_CONTINUE_SEARCH;

    DWORD last_error = GetLastError();
    uintptr_t addr = record->ExceptionInformation[1];
    /* A page that we closed for writing can still be read: one that cannot has
     * been closed by its owner. */
    bool served = hl_is_readable(addr) &&
                  (hl_regions_serve(SIGSEGV, addr) || hl_is_writable(addr));
    SetLastError(last_error);
    return served ? EXCEPTION_CONTINUE_EXECUTION : EXCEPTION_CONTINUE_SEARCH;
}

/* Nothing tells who is first, so it is put in front each time, and then taken
 * away from where it was.  A fault may be with a handler in between, which was
 * in front until now: it would not meet ours any more.  So the first one stays
 * where it is for good. */
int hl_handler_go_first(int signal)
{
    (void)signal;
    void *fresh = AddVectoredExceptionHandler(TRUE, on_fault), *none = NULL;
    if (fresh == NULL)
        return -ENOMEM;
    if (atomic_compare_exchange_strong(&first, &none, fresh))
        return 0;
    void *old = atomic_exchange(&front, fresh);
    if (old != NULL)
        (void)RemoveVectoredExceptionHandler(old);
    return 0;
}

bool hl_handler_is_installed(int signal)
{
    (void)signal;
    return atomic_load(&first) != NULL;
}

/* Whoever came in front of us since is asked for first: nobody knows. */
struct hl_fault_status hl_handler_status(int signal)
{
    bool installed = hl_handler_is_installed(signal);

    return (struct hl_fault_status){
        .signal = signal,
        .installed = installed,
        .first = installed,
    };
}
