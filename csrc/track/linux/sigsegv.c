/* sigsegv: mprotect, and a SIGSEGV handler that opens one page.
 *
 * Works on any kernel.  A system call that writes into a protected page fails
 * with EFAULT, or ends short. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "os/map.h"
#include "os/vma.h"
#include "track/trap.h"

#ifndef PR_GET_MDWE /* 6.3 */
#define PR_GET_MDWE 66
#endif

struct sigsegv {
    struct hl_trap trap; /* first: they are cast to each other */
    int prot;            /* of an open page */
    unsigned kinds;      /* of memory, as mappings have them */
};

static int protect(struct hl_trap *trap, struct hl_run run, bool closed)
{
    const struct sigsegv *s = (const struct sigsegv *)trap;
    size_t size = trap->tracker.page_size;
    int prot = closed ? s->prot & ~PROT_WRITE : s->prot;

    if (mprotect(trap->tracker.addr + run.first * size, run.count * size,
                 prot) < 0)
        return -errno;
    return 0;
}

static int probe(char *why)
{
    struct hl_map map;
    int err = hl_map_create(&map, hl_page_size(), HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "mmap: %s", strerror(-err));
    if (mprotect(map.addr, map.size, PROT_READ) < 0)
        err = hl_why(why, -errno, "mprotect: %s", strerror(errno));
    hl_map_destroy(&map);
    return err;
}

static int sigsegv_open(void *addr, size_t page_count, struct hl_tracker **out,
                        char *why)
{
    struct hl_vma vma;
    int err =
        hl_tracker_accepts(&hl_track_sigsegv, addr, page_count, &vma, why);
    if (err < 0)
        return err;

    if (vma.prot & PROT_EXEC && prctl(PR_GET_MDWE, 0, 0, 0, 0) > 0)
        return hl_why(why, -EACCES,
                      "this process may not make memory executable and "
                      "writable again (PR_SET_MDWE)");

    struct sigsegv *s = calloc(1, sizeof *s);
    if (s == NULL)
        return hl_why(why, -ENOMEM, "out of memory");
    s->prot = vma.prot;
    s->kinds = vma.kinds | HL_KIND_OWN_HEAP; /* as a block of its own is */
    s->trap.protect = protect;
    /* One call closes any number of open mappings in its stretch and passes
     * over what is closed already at the cost of a mapping, not of a page. */
    s->trap.bridge = SIZE_MAX;
    err = hl_trap_open(&s->trap, &hl_track_sigsegv, addr, page_count, SIGSEGV,
                       why);
    if (err < 0)
        free(s);
    else
        *out = &s->trap.tracker;
    return err;
}

static void open_if_closed(void *context, uintptr_t start, uintptr_t end,
                           int prot, unsigned kind)
{
    const struct sigsegv *s = context;

    if (prot == (s->prot & ~PROT_WRITE) && kind & s->kinds)
        (void)mprotect((void *)start, end - start, s->prot);
}

/* Open what we closed, but not what its owner closed or put in its place, as
 * far as that can be told: read-only memory of the same kind looks like ours.
 * The kernel stops at a hole, so this goes by mappings, or by pages if
 * mappings are unknown. */
static void open_all(struct sigsegv *s)
{
    struct hl_trap *trap = &s->trap;
    size_t count = trap->tracker.page_count;

    if (hl_vma_each(trap->tracker.addr, count * trap->tracker.page_size,
                    open_if_closed, s) == 0 ||
        protect(trap, (struct hl_run){0, count}, false) == 0)
        return;
    for (size_t page = 0; page < count; page++)
        (void)protect(trap, (struct hl_run){page, 1}, false);
}

/* A fork leaves protection, handler and table as they were, so that a child
 * ends its copy like a parent. */
static void sigsegv_close(struct hl_tracker *t, bool forked)
{
    struct sigsegv *s = (struct sigsegv *)t;

    (void)forked;
    open_all(s);
    hl_trap_close(&s->trap);
    free(s);
}

const struct hl_tracker_ops hl_track_sigsegv = {
    .name = "sigsegv",
    .kernel_writes = false,
    .arms = true,
    .splits_mappings = true,
    .uses_signal = true,
    .survives_fork = true,
    .disarm_cost = 55, /* splitting a mapping: 5 us */
    .kinds = HL_KIND_PRIVATE | HL_KIND_SHARED | HL_KIND_FILE |
             HL_KIND_FILE_COPY | HL_KIND_UNKNOWN,
    .probe = probe,
    .open = sigsegv_open,
    .collect = hl_trap_collect,
    .arm = hl_trap_arm,
    .leave_unarmed = hl_trap_leave_unarmed,
    .arm_first = hl_arm_first_by_look,
    .disarm = hl_trap_disarm,
    .close = sigsegv_close,
};
