/* Whose turn it is: one variable that holds what a sandbox is doing, and which
 * operations it accepts meanwhile.
 *
 *                enter(CALL)                 enter(WORK)
 *      READY -----------------> CALL      READY, POISONED ------> WORK
 *        ^                        |            ^                    |
 *        +---- leave(READY) ------+            +-- leave(either) ---+
 *                                 |
 *    POISONED <- leave(POISONED) -+     from all but CALL: leave(CLOSED)
 *
 *  U1. CALL lasts from before the first argument is examined until the result
 *      is converted.  Other code that runs meanwhile on the same thread (a
 *      host function, __index__ of an argument, a signal handler, a finalizer,
 *      a trace function) is refused by enter(); other threads wait in it.
 *  U2. A request to end a call is a bit beside its state, which is cleared
 *      with the call: it ends this call or none.
 *  U3. It is a state, not a lock: a fork does not wait for it.  A child may
 *      not enter its parent's sandboxes; see hl_sandbox_close.
 *
 * Threads: all of this at any time; leave() by the thread that entered. */
#ifndef HL_TURN_H
#define HL_TURN_H

#include "base.h"

enum hl_state {
    HL_READY,
    HL_POISONED,
    HL_CALL,
    HL_WORK,
    HL_CLOSED,
};

struct hl_turn {
    _Atomic uint32_t word; /* enum hl_state, and the bits of turn.c */
    _Atomic uintptr_t owner;
    _Atomic uintptr_t last;   /* who left, while others waited */
    _Atomic uint64_t left_at; /* and when: hl_now */
    _Atomic uint32_t waiting; /* threads that were told to wait */
    unsigned generation;      /* of the process that made it: os/forked.h */
};

void hl_turn_init(struct hl_turn *turn);

enum hl_state hl_turn_state(const struct hl_turn *turn);

/* Does this thread have the turn? */
bool hl_turn_is_mine(const struct hl_turn *turn);

/* Is this a child of the process that made it? */
bool hl_turn_is_forked(const struct hl_turn *turn);

/* Enter CALL or WORK, if that can be done now.  -EBADF: closed; -ECHILD: this
 * is a child of the process that made it; -EDEADLK: this thread has the turn;
 * -EBUSY: POISONED, and CALL was wanted; -EAGAIN: another thread has it. */
int hl_turn_enter(struct hl_turn *turn, enum hl_state wanted,
                  bool waits) HL_MUST_CHECK;

/* After -EAGAIN: count this thread as waiting, from then on (`waits` of
 * hl_turn_enter) until it has the turn or gives up.  A thread that leaves
 * while others wait does not enter again until another has, or some time has
 * passed: otherwise a thread that calls in a loop would never let others in.
 */
void hl_turn_queue(struct hl_turn *turn);
void hl_turn_unqueue(struct hl_turn *turn);

/* Sleep until it is worth trying again, but no longer than some milliseconds:
 * the caller handles signals in between. */
void hl_turn_wait(struct hl_turn *turn);

/* In a child: is the thread that has the turn one of the child's? */
bool hl_turn_owner_lives(const struct hl_turn *turn);

/* Give it back, as this state. */
void hl_turn_leave(struct hl_turn *turn, enum hl_state state);

/* Ask the call under way to end; false: there is none.  Async-signal-safe. */
bool hl_turn_ask(struct hl_turn *turn);
/* Was it asked to? */
bool hl_turn_asked(const struct hl_turn *turn);

#endif
