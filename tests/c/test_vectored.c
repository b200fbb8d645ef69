/* What protection is like on Windows: other handlers, and other words for
 * pages than two. */
#include "check.h"

#ifdef _WIN32
#include <windows.h>

#include "os/map.h"
#include "os/threads.h"
#include "track/track.h"

#define PAGES ((size_t)4)

static char *memory;
static struct hl_tracker *t;
static struct hl_pages set;

static void track(char *of)
{
    char why[HL_WHY_SIZE] = "";

    memory = of;
    int err = hl_track_vectored.open(memory, PAGES, &t, why);
    if (err < 0)
        fprintf(stderr, "%s\n", why);
    CHECK(err == 0 && hl_pages_init(&set, PAGES) == 0);
    hl_pages_fill(&set);
    t->ops->arm(t, &set);
}

static void end(void)
{
    t->ops->close(t, false);
    hl_pages_free(&set);
}

static size_t reported(void)
{
    hl_pages_empty(&set);
    CHECK(t->ops->collect(t, &set) == 0);
    return hl_pages_count(&set);
}

static DWORD protection(size_t page)
{
    MEMORY_BASIC_INFORMATION info;

    CHECK(VirtualQuery(memory + page * hl_page_size(), &info, sizeof info));
    return info.Protect;
}

/* Somebody's, in front of ours, as faulthandler's is. */
static HANDLE inside, go_on;

static LONG CALLBACK slow(EXCEPTION_POINTERS *fault)
{
    (void)fault;
    SetEvent(inside);
    WaitForSingleObject(go_on, INFINITE);
    return EXCEPTION_CONTINUE_SEARCH;
}

static void *write_first_page(void *unused)
{
    (void)unused;
    *(volatile char *)memory = 1;
    return NULL;
}

/* A fault that is on its way reaches ours, wherever that is by then. */
static void a_handler_in_front_takes_its_time(void)
{
    struct hl_map map;
    hl_thread thread;

    CHECK(hl_map_create(&map, PAGES * hl_page_size(), HL_HUGE_NEVER) == 0);
    track(map.addr);
    inside = CreateEventA(NULL, FALSE, FALSE, NULL);
    go_on = CreateEventA(NULL, FALSE, FALSE, NULL);
    void *handler = AddVectoredExceptionHandler(TRUE, slow);
    CHECK(handler != NULL);
    CHECK(hl_thread_start(&thread, write_first_page, NULL) == 0);
    WaitForSingleObject(inside, INFINITE);
    for (int i = 0; i < 3; i++)
        CHECK(reported() == 0);
    SetEvent(go_on);
    hl_thread_join(thread);
    CHECK(RemoveVectoredExceptionHandler(handler) != 0);
    CHECK(memory[0] == 1 && reported() == 1);
    end();
    hl_map_destroy(&map);
}

/* What a page is besides readable and writable stays so. */
static void words_beside_protection_stay(void)
{
    const DWORD size = (DWORD)(PAGES * hl_page_size());
    HANDLE section = CreateFileMappingA(
        INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE | SEC_COMMIT | SEC_NOCACHE,
        0, size, NULL);
    char *view = MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0);

    CHECK(view != NULL);
    memory = view;
    const DWORD before = protection(0);
    CHECK(before == (PAGE_READWRITE | PAGE_NOCACHE));
    track(view);
    CHECK(protection(1) == (PAGE_READONLY | PAGE_NOCACHE));
    memory[0] = 1;
    CHECK(reported() == 1);
    end();
    for (size_t page = 0; page < PAGES; page++)
        CHECK(protection(page) == before);
    CHECK(UnmapViewOfFile(view) && CloseHandle(section));
}

int main(void)
{
    RUN(words_beside_protection_stay);
    RUN(a_handler_in_front_takes_its_time);
    return 0;
}
#else
int main(void)
{
    printf("skipped: this is not Windows\n");
    return 0;
}
#endif
