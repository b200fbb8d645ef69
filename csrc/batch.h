/* Many calls of one function, one after the other, with nobody in between: the
 * arguments are written before, the results read afterwards, and the GIL is
 * given away once for all of them (os/others.h).
 *
 *     begin, write, add, write, add ... run, take, take ... write ... end
 *
 *  M1. A batch with a snapshot calls every function in the state of that
 *      snapshot: the guest is put back before each call, whatever the last one
 *      did or how it ended, and the batch's end puts it back once more, also
 *      where the batch could not begin.  A batch without one never puts it
 *      back; after a call that poisons, none runs any more.
 *  M2. A call either runs from here to its result, which is copied before the
 *      guest is put back, or it is left in its middle to the caller: where the
 *      guest left for anything else, and where it left anything but a result
 *      of the function's type, or text that is not UTF-8.  The caller ends
 *      such a call as one that is not of a batch.  So errors are told in one
 *      place.
 *  M3. What is kept for calls that have not run, and of results that were not
 *      taken, is bounded: HL_BATCH_CALLS, and HL_BATCH_BYTES and the largest
 *      message of each.
 *  M4. A run returns within HL_BATCH_SLICE_NS and one call, for signals.
 *  M5. The memory that this needs stays for the sandbox's next batch, since to
 *      map it takes as long as half a call; but no more than HL_BATCH_KEPT
 *      bytes of what arguments and results touched.
 *
 * Threads: those of the sandbox's turn, which is CALL from before the batch
 * begins until it has ended: so the snapshot is one that the caller holds,
 * nobody else runs or restores the guest, and a request to end the call (U2 of
 * turn.h) ends whichever call of the batch runs then or next. */
#ifndef HL_BATCH_H
#define HL_BATCH_H

#include "abi/native/wire.h"
#include "base.h"
#include "sandbox.h"

#define HL_BATCH_CALLS 1024
#define HL_BATCH_BYTES ((size_t)1 << 20)
#define HL_BATCH_SLICE_NS UINT64_C(50000000)
#define HL_BATCH_KEPT ((size_t)1 << 15)

struct hl_batch_room; /* for arguments and results */

/* Everything that is pointed to outlives the batch. */
struct hl_batch_config {
    const void *name; /* of the function, encoded */
    size_t name_size;
    enum hl_type result;
    uint64_t limit;               /* ns that each call may take; 0: any */
    bool goes_on;                 /* after an error that a function returned */
    struct hl_snapshot *snapshot; /* M1, or NULL */
    const void *state;            /* of it */
};

struct hl_batch_result {
    enum hl_message_kind kind;      /* a result, or with goes_on an error */
    struct hl_wire_value values[2]; /* of a result one */
};

/* Zeroed: none is under way.  All batches of one are of the same sandbox. */
struct hl_batch {
    struct hl_sandbox *sandbox; /* NULL: none is under way */
    struct hl_call *call;
    struct hl_batch_config config;
    bool off;                   /* the guest may differ from the snapshot */
    bool inside;                /* a call has begun, and has not ended */
    struct hl_batch_room *room; /* M5; NULL: not yet */
};

/* One is under way, also after -ENOMEM: then all that it can do is end. */
int hl_batch_begin(struct hl_batch *batch, struct hl_sandbox *sandbox,
                   const struct hl_batch_config *config) HL_MUST_CHECK;
/* None is, whatever this returns.  M1: errors as hl_sandbox_restore; -ECHILD.
 * The sandbox may be in the middle of a call. */
int hl_batch_end(struct hl_batch *batch) HL_MUST_CHECK;
/* Give up the memory that was kept; none is under way. */
void hl_batch_free(struct hl_batch *batch);

/* Where the arguments of another call go; what was written before and not
 * added is forgotten.  Once all calls have run and results are taken, or while
 * add has not said that it is full. */
struct hl_wire_writer *hl_batch_write(struct hl_batch *batch);
/* They are whole.  True: it is full. */
bool hl_batch_add(struct hl_batch *batch) HL_MUST_CHECK;

/* Run the calls that were added and have not run.  1: a call is left in its
 * middle (M2), and *left says why; HL_LEFT_READY is a result that is the
 * caller's to read.  0: *left is HL_LEFT_READY where all have run, and
 * HL_LEFT_KICKED where not: take the results, see to signals, run it again.
 * -EBUSY: the sandbox is poisoned; else as hl_sandbox_restore, begin and run:
 * that is about the next call. */
int hl_batch_run(struct hl_batch *batch, struct hl_exit *exit,
                 enum hl_left *left) HL_MUST_CHECK;

/* The next call is over, after run returned 1 or an error. */
void hl_batch_pass_over(struct hl_batch *batch);

/* The next result, valid until the batch is run or written to; NULL: all are
 * taken. */
const struct hl_batch_result *hl_batch_take(struct hl_batch *batch);

#endif
