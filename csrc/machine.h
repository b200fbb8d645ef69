/* Machines of sandboxes: their memory, how they are made, and how they are
 * used again.
 *
 * Making a machine and destroying it is most of the work for a sandbox that
 * lives for one call, and takes the kernel the longer the more mappings and
 * machines the process has.  So a sandbox that is closed leaves its machine
 * blank, and the next one with equal memory takes it.
 *
 *  B1. A blank machine's memory is zero, and its tracker knows no written page
 *      any more.  Its vCPU is made as good as new (V6) before its next guest
 *      is run.  So a guest finds nothing of an earlier one.
 *  B2. Only machines of guests at rest are kept: none after a guest was ended
 *      by a fault, a limit or an interrupt and was not put back, none after a
 *      run failed.
 *  B3. At most HL_BLANKS are kept, each with at most HL_BLANK_PAGES pages in
 *      memory, and none in a child of fork.  Where a new machine finds no
 *      descriptors or no memory, all are given up for it.
 *
 * Threads: the calls on one machine are made one at a time; which machines are
 * blank has a lock of its own. */
#ifndef HL_MACHINE_H
#define HL_MACHINE_H

#include "base.h"
#include "os/map.h"
#include "vm/driver.h"

#define HL_BLANKS 4
#define HL_BLANK_PAGES 512

struct hl_machine {
    const struct hl_driver_ops *driver;
    struct hl_vm *vm; /* NULL: not made yet */
    struct hl_vm_config config;
    struct hl_map map;

    /* The tracker of the driver's own, as long as no manager has it. */
    struct hl_tracker *tracker;

    /* Of a blank one: what it was made with, while `config` is filled in. */
    bool blank;
    struct hl_x86_tables tables;
    uint64_t fs_base;
    bool system_calls;
};

struct hl_machine_slot {
    uint64_t addr, size;
    bool logged;
};

/* Fill in a zeroed machine, whose driver and whose config's regions are set:
 * zero-filled memory for these slots, one behind the other, and possibly a
 * blank machine to it.  On error nothing is left, and `why` has a sentence. */
int hl_machine_map(struct hl_machine *machine,
                   const struct hl_machine_slot *slots, size_t count,
                   char *why) HL_MUST_CHECK;

/* Make the machine, or make the blank one as good as new, whose logged slots
 * are in [memory, +size) if there is a tracker.  An earlier one is destroyed.
 * The config's tables and fs_base are set by now, and its memory filled. */
int hl_machine_make(struct hl_machine *machine,
                    const struct hl_vm_tracker *tracker, const char *memory,
                    size_t size, char *why) HL_MUST_CHECK;

/* Its tracker, opened if it is not; the caller's from now on. */
int hl_machine_track(struct hl_machine *machine, void *memory,
                     size_t page_count, struct hl_tracker **out,
                     char *why) HL_MUST_CHECK;

/* V5 */
int hl_machine_finish(const struct hl_machine *machine) HL_MUST_CHECK;

/* The end of one for which map succeeded: kept blank, if it may be and can be,
 * or else destroyed.  A tracker that the manager gave back is in `tracker`.
 * may_keep: B2, and this process made it. */
void hl_machine_end(struct hl_machine *machine, bool may_keep);

/* Destroy all that are blank; returns how many. */
size_t hl_machine_drop_blanks(void);
size_t hl_machine_blanks(void);

#endif
