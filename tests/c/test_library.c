/* Memory that a library reserved, to be there when it is touched: the C
 * library plays that one, and its qsort calls code that is not its own. */
#include "check.h"

#ifdef _WIN32
#include <windows.h>

#include <string.h>

#include "inject.h"
#include "os/library.h"

#define SIZE ((size_t)1 << 20)

static HMODULE library;
static void *(*set)(void *to, int byte, size_t size);
static void (*sort)(void *base, size_t count, size_t size,
                    int (*compare)(const void *, const void *));

/* Whoever else knows what to do: it makes the memory be there, or goes back
 * from where nothing can be executed. */
static struct {
    int asked;
    ULONG_PTR kind;
    DWORD last_error, state;
} others;

enum { KIND_WRITE = 1, KIND_EXECUTE = 8 };

static LONG CALLBACK on_what_is_left(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *r = fault->ExceptionRecord;
    CONTEXT *at = fault->ContextRecord;
    MEMORY_BASIC_INFORMATION info;

    if (r->ExceptionCode != EXCEPTION_ACCESS_VIOLATION)
        return EXCEPTION_CONTINUE_SEARCH;
    others.last_error = GetLastError();
    others.asked++;
    others.kind = r->ExceptionInformation[0];
    if (others.kind == KIND_EXECUTE) {
        memcpy(&at->Rip, (const void *)at->Rsp, sizeof at->Rip);
        at->Rsp += sizeof at->Rip;
    } else if (others.kind == KIND_WRITE) {
        char *page = (char *)(r->ExceptionInformation[1] & ~(ULONG_PTR)4095);
        CHECK(VirtualQuery(page, &info, sizeof info));
        others.state = info.State;
        CHECK(VirtualAlloc(page, 4096, MEM_COMMIT, PAGE_READWRITE));
    }
    return EXCEPTION_CONTINUE_EXECUTION;
}

static char *reserve(DWORD protect)
{
    char *area = VirtualAlloc(NULL, SIZE, MEM_RESERVE, protect);

    CHECK(area != NULL);
    others.asked = 0;
    return area;
}

static void release(char *area) { CHECK(VirtualFree(area, 0, MEM_RELEASE)); }

/* What is called, and by whom. */
static char *touched;

static int touch(const void *one, const void *other)
{
    (void)one;
    (void)other;
    touched[5] = 1;
    return 0;
}

static int jump(const void *one, const void *other)
{
    int (*there)(const void *, const void *);

    memcpy(&there, &touched, sizeof there);
    (void)there(one, other);
    return 0;
}

static void let_it_call(int (*function)(const void *, const void *))
{
    int two[] = {1, 2};

    sort(two, 2, sizeof two[0], function);
}

static void to_register_may_fail(void)
{
    hl_inject_plan(HL_INJECT_TABLE, 0, 1);
    CHECK(hl_library_commits(library) == -ENOMEM);
    CHECK(hl_library_commits(library) == 0);
    CHECK(hl_library_commits(library) == 0);
    CHECK(AddVectoredExceptionHandler(0, on_what_is_left) != NULL);
}

static void its_memory_is_there(void)
{
    char *area = reserve(PAGE_READWRITE);
    set(area + 1, 1, SIZE - 1);
    CHECK(others.asked == 0);
    CHECK(area[0] == 0 && area[1] == 1 && area[SIZE - 1] == 1);
    release(area);
    area = reserve(PAGE_NOACCESS); /* a guard page */
    set(area, 1, 1);
    CHECK(others.asked == 1 && others.state == MEM_RESERVE);
    release(area);
}

static void so_it_is_for_what_it_calls(void)
{
    touched = reserve(PAGE_EXECUTE_READWRITE);
    let_it_call(touch);
    CHECK(others.asked == 0 && touched[5] == 1);
    release(touched);
}

static void memory_of_others_is_theirs(void)
{
    static const DWORD kinds[] = {PAGE_EXECUTE_READWRITE, PAGE_READWRITE};

    for (size_t i = 0; i < HL_ARRAY_SIZE(kinds); i++) {
        touched = reserve(kinds[i]);
        (void)touch(NULL, NULL);
        CHECK(others.asked == 1 && others.state == MEM_RESERVE);
        release(touched);
    }
}

/* Zeros are instructions, which write. */
static void nobody_executes_what_was_never_written(void)
{
    touched = reserve(PAGE_EXECUTE_READWRITE);
    let_it_call(jump);
    CHECK(others.asked > 0 && others.kind == KIND_EXECUTE);
    release(touched);
}

/* Another thread that meets the page first is played by a handler in front. */
static DWORD meanwhile;

static LONG CALLBACK be_first(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *r = fault->ExceptionRecord;
    MEMORY_BASIC_INFORMATION info;
    char *at = (char *)r->ExceptionInformation[1];

    if (r->ExceptionCode == EXCEPTION_ACCESS_VIOLATION &&
        VirtualQuery(at, &info, sizeof info) && info.State == MEM_RESERVE)
        CHECK(VirtualAlloc(at, 1, MEM_COMMIT, meanwhile));
    return EXCEPTION_CONTINUE_SEARCH;
}

static void two_threads_may_meet_a_page(void)
{
    void *front = AddVectoredExceptionHandler(1, be_first);

    CHECK(front != NULL);
    meanwhile = PAGE_READWRITE;
    char *area = reserve(PAGE_READWRITE);
    set(area, 1, 1);
    CHECK(others.asked == 0 && area[0] == 1);
    release(area);
    /* Where that does not help, it is a fault as any. */
    meanwhile = PAGE_READONLY;
    area = reserve(PAGE_READWRITE);
    set(area, 1, 1);
    CHECK(others.asked == 1 && area[0] == 1);
    release(area);
    CHECK(RemoveVectoredExceptionHandler(front));
}

static void others_find_their_last_error(void)
{
    const ULONG_PTR nowhere[] = {0, UINTPTR_MAX};

    others.asked = 0;
    SetLastError(1234);
    RaiseException(EXCEPTION_ACCESS_VIOLATION, 0, 2, nowhere);
    CHECK(others.asked == 1 && others.last_error == 1234);
}

static void find(const char *name, void *function)
{
    void *found = hl_library_find(library, name);

    CHECK(found != NULL);
    memcpy(function, &found, sizeof found);
}

int main(void)
{
    library = GetModuleHandleA("msvcrt.dll");
    if (library == NULL)
        library = GetModuleHandleA("ucrtbase.dll");
    CHECK(library != NULL);
    find("memset", &set);
    find("qsort", &sort);
    RUN(to_register_may_fail);
    RUN(its_memory_is_there);
    RUN(so_it_is_for_what_it_calls);
    RUN(memory_of_others_is_theirs);
    RUN(nobody_executes_what_was_never_written);
    RUN(two_threads_may_meet_a_page);
    RUN(others_find_their_last_error);
    return 0;
}
#else
int main(void)
{
    printf("skipped: this is not Windows\n");
    return 0;
}
#endif
