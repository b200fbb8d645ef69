/* Whether dirty pages are told as they should be: tried once, by a small guest
 * that writes pages, each of them again after a query that reported it.
 *
 * There are reports of hosts where such a page reads clean: what is not
 * reported would not be restored, so one miss is enough to do without. */
#include <string.h>

#include "os/lock.h"
#include "os/map.h"
#include "vm/whp/machine.h"

#define CODE (UINT64_C(1) << 20)
#define DATA (UINT64_C(2) << 20)
#define TABLES (UINT64_C(4) << 20)
#define DATA_PAGES ((size_t)70) /* more than a word of bits */

/* mov %eax, (%rbx); out %al, HL_PORT_GUEST */
static const unsigned char code[] = {0x89, 0x03, 0xe6, HL_PORT_GUEST};

/* In this order: the same page twice in a row, and others in between. */
static const size_t writes[] = {0, 0, 69, 69, 0, 33, 69};

/* What was found; guarded by the lock, which is not held while it is tried:
 * two threads may both try, and find the same. */
static struct hl_lock lock;
static struct {
    const struct hl_whp_calls *calls; /* NULL: nothing yet */
    int err;
    char why[HL_WHY_SIZE];
} known;

static void remember(const struct hl_whp_calls *calls, int err,
                     const char *why)
{
    hl_lock_acquire(&lock);
    known.calls = calls;
    known.err = err;
    (void)hl_why(known.why, 0, "%s", why);
    hl_lock_release(&lock);
}

void hl_whp_forget_probe(void) { remember(NULL, 0, ""); }

/* False: nothing is. */
static bool recall(const struct hl_whp_calls *calls, int *err, char *why)
{
    hl_lock_acquire(&lock);
    bool found = known.calls == calls;
    *err = known.err;
    if (found && known.err < 0)
        (void)hl_why(why, 0, "%s", known.why);
    hl_lock_release(&lock);
    return found;
}

static int ask(const struct hl_whp *m, uint64_t *bits, char *why)
{
    memset(bits, 0, (DATA_PAGES + 63) / 64 * sizeof *bits);
    int err = hl_whp_query(m, DATA, DATA_PAGES, bits);
    return err < 0 ? hl_why(why, err, "WHvQueryGpaRangeDirtyBitmap: %s",
                            hl_strerror(-err))
                   : 0;
}

static int write_page(struct hl_whp *m, size_t page, char *why)
{
    struct hl_exit exit = {.reason = HL_EXIT_KICKED};
    int err = 0;

    m->regs.rip = CODE;
    m->regs.gpr[HL_RBX] = DATA + page * HL_WHP_PAGE;
    while (err == 0 && exit.reason == HL_EXIT_KICKED)
        err = hl_whp_run(&m->vm, &exit);
    if (err == 0 && exit.reason != HL_EXIT_CALL)
        err = -EIO;
    return err < 0 ? hl_why(why, err, "a guest that writes did not run: %s",
                            hl_strerror(-err))
                   : 0;
}

static int try_writes(struct hl_whp *m, char *why)
{
    uint64_t bits[(DATA_PAGES + 63) / 64];

    int err = ask(m, bits, why);
    for (size_t i = 0; i < HL_ARRAY_SIZE(writes) && err == 0; i++) {
        const size_t page = writes[i];
        err = write_page(m, page, why);
        if (err == 0)
            err = ask(m, bits, why);
        if (err == 0 && (bits[page / 64] >> page % 64 & 1) == 0)
            err = hl_why(why, -EOPNOTSUPP,
                         "WHvQueryGpaRangeDirtyBitmap does not report every "
                         "write here: a page read clean after write %zu",
                         i + 1);
    }
    return err;
}

/* memory: tables, a page of code, and data. */
static int try_with(const struct hl_whp_calls *calls, char *memory,
                    size_t tables, char *why)
{
    char *data = memory + tables + HL_WHP_PAGE;
    struct hl_vm_config config = {
        .slots = {{memory, TABLES, tables, false},
                  {memory + tables, CODE, HL_WHP_PAGE, false},
                  {data, DATA, DATA_PAGES * HL_WHP_PAGE, true}},
        .slot_count = 3,
        .regions = {{CODE, HL_WHP_PAGE, HL_PERM_READ | HL_PERM_EXECUTE},
                    {DATA, DATA_PAGES * HL_WHP_PAGE,
                     HL_PERM_READ | HL_PERM_WRITE}},
        .region_count = 2,
    };
    struct hl_whp *m;

    memcpy(memory + tables, code, sizeof code);
    int err = hl_x86_build(memory, tables, TABLES, config.regions, 2,
                           &config.tables);
    if (err < 0)
        return hl_why(why, err, "page tables: %s", hl_strerror(-err));
    err = hl_whp_make(calls, &config, "", &m, why);
    if (err < 0)
        return err;
    if (m->untracked[0] != 0)
        err = hl_why(why, -EOPNOTSUPP, "%s", m->untracked);
    else
        err = try_writes(m, why);
    hl_whp_destroy(&m->vm);
    return err;
}

static int try(const struct hl_whp_calls *calls, char *why)
{
    const struct hl_x86_region regions[] = {
        {CODE, HL_WHP_PAGE, HL_PERM_READ},
        {DATA, DATA_PAGES * HL_WHP_PAGE, HL_PERM_READ}};
    size_t tables = hl_x86_tables_size(TABLES, regions, 2);
    struct hl_map map;

    int err = hl_map_create(&map, tables + (1 + DATA_PAGES) * HL_WHP_PAGE,
                            HL_HUGE_NEVER);
    if (err < 0)
        return hl_why(why, err, "VirtualAlloc: %s", hl_strerror(-err));
    err = try_with(calls, map.addr, tables, why);
    hl_map_destroy(&map);
    return err;
}

int hl_whp_probe(const struct hl_whp_calls *calls, char *why)
{
    int err;

    if (calls->query_dirty == NULL)
        return hl_why(why, -EOPNOTSUPP,
                      "WinHvPlatform.dll has no WHvQueryGpaRangeDirtyBitmap: "
                      "Windows 10 1809 is needed");
    if (recall(calls, &err, why))
        return err;
    err = try(calls, why);
    if (err == 0 || err == -EOPNOTSUPP)
        remember(calls, err, why);
    return err;
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_LIBRARY);
}
