/* vectored: VirtualProtect, and a vectored exception handler that opens one
 * page.
 *
 * For memory that was not reserved to be watched.  A system call that writes
 * into a protected page fails (ERROR_NOACCESS), or ends short. */
#include <signal.h>
#include <stdlib.h>
#include <windows.h>

#include "os/map.h"
#include "track/trap.h"

/* Windows looks at every page that a call crosses. */
#define BRIDGE 64

struct vectored {
    struct hl_trap trap; /* first: they are cast to each other */
    DWORD open, closed;  /* protection of pages */
};

/* Runs in the handler. */
static int protect(struct hl_trap *trap, struct hl_run run, bool closed)
{
    const struct vectored *v = (const struct vectored *)trap;
    size_t size = trap->tracker.page_size;
    DWORD before;

    if (VirtualProtect(trap->tracker.addr + run.first * size, run.count * size,
                       closed ? v->closed : v->open, &before))
        return 0;
    return GetLastError() == ERROR_INVALID_ADDRESS ? -EINVAL : -ENOMEM;
}

static int probe(char *why)
{
    struct hl_map map;
    DWORD before;
    int err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "VirtualAlloc: %s", hl_strerror(-err));
    if (!VirtualProtect(map.addr, map.size, PAGE_READONLY, &before))
        err = hl_why(why, -EACCES, "VirtualProtect: error %lu",
                     (unsigned long)GetLastError());
    hl_map_destroy(&map);
    return err;
}

/* What Windows calls the protection of an open page, all of which are of one
 * reservation: a call to VirtualProtect crosses no other.  Pages of a file's
 * copy that were written are called otherwise, but opened by the same word.
 * What it says besides (that pages are not cached, or writes to them combined)
 * is said of closed pages, too. */
static int find_protection(struct vectored *v, const void *addr, size_t size,
                           char *why)
{
    MEMORY_BASIC_INFORMATION info;
    const char *at = addr, *end = at + size, *base = NULL;
    DWORD word = 0;

    for (; at < end && VirtualQuery(at, &info, sizeof info) != 0;
         at = (const char *)info.BaseAddress + info.RegionSize) {
        if (base != NULL && info.AllocationBase != base)
            return hl_why(why, -EOPNOTSUPP,
                          "this memory is of several reservations, which "
                          "vectored cannot protect at once");
        base = info.AllocationBase;
        if (word == 0 ||
            (info.Protect & (PAGE_WRITECOPY | PAGE_EXECUTE_WRITECOPY)) != 0)
            word = info.Protect;
    }
    v->open = word;
    v->closed = word & ~(DWORD)0xff;
    v->closed |= word & (PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY)
                     ? PAGE_EXECUTE_READ
                     : PAGE_READONLY;
    return 0;
}

static int vectored_open(void *addr, size_t page_count,
                         struct hl_tracker **out, char *why)
{
    struct hl_vma vma;
    int err =
        hl_tracker_accepts(&hl_track_vectored, addr, page_count, &vma, why);
    if (err < 0)
        return err;
    struct vectored *v = calloc(1, sizeof *v);
    if (v == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    err = find_protection(v, addr, page_count * hl_page_size(), why);
    v->trap.protect = protect;
    v->trap.bridge = BRIDGE;
    if (err == 0)
        err = hl_trap_open(&v->trap, &hl_track_vectored, addr, page_count,
                           SIGSEGV, why);
    if (err < 0)
        free(v);
    else
        *out = &v->trap.tracker;
    return err;
}

/* Open what we closed, but not what its owner closed or put in its place, as
 * far as that can be told: read-only memory looks like ours. */
static void open_all(const struct vectored *v)
{
    const struct hl_tracker *t = &v->trap.tracker;
    char *at = t->addr, *end = at + t->page_count * t->page_size;
    MEMORY_BASIC_INFORMATION info;

    while (at < end && VirtualQuery(at, &info, sizeof info) != 0) {
        char *next = (char *)info.BaseAddress + info.RegionSize;
        DWORD before;
        if (next > end)
            next = end;
        if (info.State == MEM_COMMIT && info.Protect == v->closed)
            (void)VirtualProtect(at, (SIZE_T)(next - at), v->open, &before);
        at = next;
    }
}

static void vectored_close(struct hl_tracker *t, bool forked)
{
    struct vectored *v = (struct vectored *)t;

    (void)forked;
    open_all(v);
    hl_trap_close(&v->trap);
    free(v);
}

const struct hl_tracker_ops hl_track_vectored = {
    .name = "vectored",
    .kernel_writes = false,
    .arms = true,
    .splits_mappings = true,
    .uses_signal = true,
    .disarm_cost = 55,
    .kinds =
        HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_FILE | HL_KIND_FILE_COPY,
    .probe = probe,
    .open = vectored_open,
    .collect = hl_trap_collect,
    .arm = hl_trap_arm,
    .leave_unarmed = hl_trap_leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = hl_trap_disarm,
    .close = vectored_close,
};
