/* Interfaces between the files of the mshv driver: run.c makes and runs the
 * machine, current.c and older.c speak the two interfaces of /dev/mshv
 * (uapi.h) by the calls of calls.h, state.c sets up, saves and loads its
 * vCPU, kick.c ends a run, dirty.c reports what the guest wrote, files.c
 * knows whether the descriptors still are its own.
 *
 * The kernel pins guest memory when it is given to a machine: from then on its
 * pages must neither be dropped nor replaced (pins_memory in driver.h). */
#ifndef HL_VM_MSHV_MACHINE_H
#define HL_VM_MSHV_MACHINE_H

#include <stdatomic.h>
#include <time.h>

#include "os/linux/file.h"
#include "vm/driver.h"
#include "vm/mshv/calls.h"
#include "vm/mshv/uapi.h"
#include "vm/signals.h"

/* Vector state in whole pages; with AMX's tiles it is 11 KiB. */
#define HL_MSHV_XSAVE (3 * HL_MSHV_PAGE)

struct hl_mshv;

/* One of the two.  All return -errno. */
struct hl_mshv_interface {
    const char *name;
    unsigned long create_vp, run; /* numbers of CREATE_VP and RUN_VP */

    /* A partition that is ready to have memory and a vCPU.  -ENOTTY: the
     * device does not speak this interface. */
    int (*create)(int device, const char **what);
    int (*map)(const struct hl_mshv *m, const struct hl_vm_slot *slot);
    int (*get)(const struct hl_mshv *m, struct hl_hv_register *list,
               size_t count);
    int (*set)(const struct hl_mshv *m, const struct hl_hv_register *list,
               size_t count);
    unsigned long get_state, set_state; /* numbers of GET and SET_VP_STATE */

    /* Report what the guest writes, from now on. */
    int (*track)(const struct hl_mshv *m);
    /* Which of these pages it wrote, into zeroed bits of whole words; and
     * forget it.  On error, the guest may have written any of them, and it may
     * be forgotten: also on -EINTR and -EAGAIN, after which it is tried again.
     * Needs a byte of room for each page. */
    int (*take_dirty)(const struct hl_mshv *m, uint64_t gpa_page,
                      size_t page_count, uint64_t *bits, void *room);
};

extern const struct hl_mshv_interface hl_mshv_current, hl_mshv_older;

/*            open                  kick
 *   OUTSIDE ------> INSIDE ---> SENDING ---> SENT
 *      ^               | close                 | close, which stops the timer
 *      +---------------+-----------------------+
 */
enum hl_mshv_kick {
    HL_MSHV_OUTSIDE,
    HL_MSHV_INSIDE,
    HL_MSHV_SENDING,
    HL_MSHV_SENT,
};

struct hl_mshv {
    struct hl_vm vm; /* first: they are cast to each other */
    const struct hl_mshv_calls *calls;
    const struct hl_mshv_interface *interface;
    int vm_fd, cpu_fd;
    struct hl_file vm_file, cpu_file; /* what they were: files.c */
    bool marked;
    uint64_t number;  /* which no other machine of this process had */
    unsigned made_by; /* the generation of forks that made it */
    struct hl_vm_config config;
    struct hl_vm_regs regs;
    bool tracks;
    void *xsave; /* HL_MSHV_XSAVE bytes, page-aligned */

    /* Ending a run: kick.c. */
    _Atomic enum hl_mshv_kick kick;
    atomic_bool kicked; /* not yet reported */
    bool has_timer;
    timer_t timer;       /* sends the signal to `runner`, of this process */
    uintptr_t runner;    /* the thread: ids are given again, this is not */
    unsigned generation; /* of forks, when the timer was made */
    bool was_blocked;    /* the signal, by the caller */
    struct hl_kept_signal kept;
};

static inline struct hl_mshv *hl_mshv_of(struct hl_vm *vm)
{
    return (struct hl_mshv *)vm;
}

/* state.c.  What it holds is a number of registers, and bytes that only the
 * hypervisor understands. */
#define HL_MSHV_REGISTERS 34
struct hl_mshv_state {
    struct hl_vm_regs regs;
    union hl_hv_value values[HL_MSHV_REGISTERS];
    unsigned char xsave[HL_MSHV_XSAVE];
};
int hl_mshv_set_up_cpu(struct hl_mshv *m, const char **what) HL_MUST_CHECK;
/* After a system call, whose stub ran at CPL 0: back to CPL 3. */
int hl_mshv_leave_supervisor(const struct hl_mshv *m) HL_MUST_CHECK;
int hl_mshv_set_thread(struct hl_vm *vm, uint64_t base);
/* General registers, to the vCPU and from it. */
int hl_mshv_regs_out(const struct hl_mshv *m) HL_MUST_CHECK;
int hl_mshv_regs_in(struct hl_mshv *m) HL_MUST_CHECK;
int hl_mshv_get_one(const struct hl_mshv *m, uint32_t name,
                    uint64_t *value) HL_MUST_CHECK;
int hl_mshv_save(struct hl_vm *vm, void *state);
int hl_mshv_load(struct hl_vm *vm, const void *state);

/* files.c.  Before anything is opened; once the vCPU is set up. */
void hl_mshv_number(struct hl_mshv *m);
int hl_mshv_mark_files(struct hl_mshv *m) HL_MUST_CHECK;
/* Close both; neither, if they are not both this machine's any more. */
void hl_mshv_close_files(struct hl_mshv *m);

/* kick.c.  Between open and close, on one thread, hl_mshv_kick makes RUN_VP
 * return EINTR. */
int hl_mshv_kick_open(struct hl_mshv *m) HL_MUST_CHECK;
void hl_mshv_kick_close(struct hl_mshv *m);
void hl_mshv_kick(struct hl_vm *vm);
/* Of a machine that ends. */
void hl_mshv_kick_free(struct hl_mshv *m);

/* dirty.c: the tracker of the logged slots. */
extern const struct hl_tracker_ops hl_mshv_dirty_ops;
int hl_mshv_dirty_open(struct hl_vm *vm, void *memory, size_t page_count,
                       struct hl_tracker **out, char *why) HL_MUST_CHECK;

#endif
