/* Interfaces between the files of the whp driver: run.c is its table,
 * partition.c makes and ends the machine by the calls of calls.h, state.c sets
 * up, saves and loads its vCPU, enter.c runs it, kick.c ends a run, dirty.c
 * reports what the guest wrote, and probe.c tells whether that is to be
 * believed.
 *
 * Nothing says what a machine sees of its memory if pages of it are dropped or
 * replaced meanwhile: so they are not (pins_memory in driver.h). */
#ifndef HL_VM_WHP_MACHINE_H
#define HL_VM_WHP_MACHINE_H

#include <stdatomic.h>

#include "vm/driver.h"
#include "vm/whp/calls.h"
#include "vm/whp/uapi.h"

/* Vector state; with AMX's tiles it is 11 KiB. */
#define HL_WHP_XSAVE (3 * HL_WHP_PAGE)

/*            open                  kick
 *   OUTSIDE ------> INSIDE ---> SENDING ---> SENT
 *      ^               | close                 | close, which stops the timer
 *      +---------------+-----------------------+
 */
enum hl_whp_kick {
    HL_WHP_OUTSIDE,
    HL_WHP_INSIDE,
    HL_WHP_SENDING,
    HL_WHP_SENT,
};

struct hl_whp {
    struct hl_vm vm; /* first: they are cast to each other */
    const struct hl_whp_calls *calls;
    WHV_PARTITION_HANDLE partition; /* NULL: none yet */
    struct hl_vm_config config;
    struct hl_vm_regs regs;
    /* Why the logged slots are not tracked; "": they are. */
    char untracked[HL_WHY_SIZE];

    /* Ending a run: kick.c. */
    _Atomic enum hl_whp_kick kick;
    atomic_bool kicked; /* not yet reported */
    PTP_TIMER timer;
};

static inline struct hl_whp *hl_whp_of(struct hl_vm *vm)
{
    return (struct hl_whp *)vm;
}

/* A step that failed, for a sentence about it. */
struct hl_whp_step {
    const char *what;
    HRESULT result;
};

/* Note it; -errno, or 0 if it did not fail. */
static inline int hl_whp_note(struct hl_whp_step *step, const char *what,
                              HRESULT result)
{
    *step = (struct hl_whp_step){what, result};
    return hl_whp_errno(result);
}

/* partition.c.  What the driver's create() and destroy() do, but for `vm.ops`
 * and what `untracked` says beforehand: if anything, slots are not tracked. */
int hl_whp_make(const struct hl_whp_calls *calls,
                const struct hl_vm_config *config, const char *untracked,
                struct hl_whp **out, char *why) HL_MUST_CHECK;
void hl_whp_destroy(struct hl_vm *vm);

/* state.c.  What it holds is a number of registers, and bytes that only the
 * hypervisor understands. */
#define HL_WHP_REGISTERS 34
struct hl_whp_state {
    struct hl_vm_regs regs;
    uint64_t values[HL_WHP_REGISTERS][2];
    uint32_t xsave_size;
    unsigned char xsave[HL_WHP_XSAVE];
};
int hl_whp_set_up_cpu(const struct hl_whp *m,
                      struct hl_whp_step *step) HL_MUST_CHECK;
/* General registers, to the vCPU and from it. */
int hl_whp_regs_out(const struct hl_whp *m) HL_MUST_CHECK;
int hl_whp_regs_in(struct hl_whp *m) HL_MUST_CHECK;
int hl_whp_get_one(const struct hl_whp *m, WHV_REGISTER_NAME name,
                   uint64_t *value) HL_MUST_CHECK;
int hl_whp_save(struct hl_vm *vm, void *state);
int hl_whp_load(struct hl_vm *vm, const void *state);

/* enter.c */
int hl_whp_run(struct hl_vm *vm, struct hl_exit *exit);

/* kick.c.  Between open and close, on one thread, hl_whp_kick makes
 * WHvRunVirtualProcessor return. */
int hl_whp_kick_init(struct hl_whp *m) HL_MUST_CHECK;
void hl_whp_kick_open(struct hl_whp *m);
void hl_whp_kick_close(struct hl_whp *m);
void hl_whp_kick(struct hl_vm *vm);
/* Of a machine that ends. */
void hl_whp_kick_free(struct hl_whp *m);

/* dirty.c: the tracker of the logged slots. */
extern const struct hl_tracker_ops hl_whp_dirty_ops;
int hl_whp_dirty_open(struct hl_vm *vm, void *memory, size_t page_count,
                      struct hl_tracker **out, char *why) HL_MUST_CHECK;
/* A query of so many pages into zeroed bits of whole words. */
int hl_whp_query(const struct hl_whp *m, uint64_t gpa, size_t page_count,
                 uint64_t *bits) HL_MUST_CHECK;

/* probe.c.  Are pages reported whenever a guest wrote them?  0, or -EOPNOTSUPP
 * and a sentence, once for the life of the process; another -errno: it could
 * not be tried.  Makes a machine of its own, so the caller should have none
 * half made: Windows may refuse a second one. */
int hl_whp_probe(const struct hl_whp_calls *calls, char *why) HL_MUST_CHECK;
/* As if the process had just begun: for tests. */
void hl_whp_forget_probe(void);

#endif
