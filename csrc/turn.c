#include "turn.h"

#include <stdatomic.h>

#include "mem/forked.h"
#include "mem/wait.h"

#define STATE 0xfu
#define ASKED 0x10u   /* U2 */
#define WAITING 0x20u /* somebody sleeps on the word */

/* Until a thread that waits looks for signals. */
#define PATIENCE_NS UINT64_C(10000000)

/* A thread is named by the address of something that only it has.  The thread
 * that forks keeps its name in the child. */
static uintptr_t self(void)
{
    static _Thread_local char mine;
    return (uintptr_t)&mine;
}

void hl_turn_init(struct hl_turn *turn)
{
    atomic_init(&turn->word, HL_READY);
    atomic_init(&turn->owner, 0);
    turn->generation = hl_fork_generation();
}

enum hl_state hl_turn_state(const struct hl_turn *turn)
{
    return (enum hl_state)(atomic_load(&turn->word) & STATE);
}

/* Nobody else ever writes this thread's name there. */
bool hl_turn_is_mine(const struct hl_turn *turn)
{
    return atomic_load(&turn->owner) == self();
}

bool hl_turn_is_forked(const struct hl_turn *turn)
{
    return turn->generation != hl_fork_generation();
}

static bool is_free(enum hl_state state, enum hl_state wanted)
{
    return state == HL_READY || (state == HL_POISONED && wanted == HL_WORK);
}

/* WAITING stays over an entering: who waits is woken when the turn is given
 * back, whoever has it by then. */
int hl_turn_enter(struct hl_turn *turn, enum hl_state wanted)
{
    uint32_t word = atomic_load(&turn->word);

    if (hl_turn_is_forked(turn))
        return -ECHILD;
    for (;;) {
        enum hl_state state = (enum hl_state)(word & STATE);
        if (state == HL_CLOSED)
            return -EBADF;
        if (state == HL_POISONED && wanted == HL_CALL)
            return -EBUSY;
        if (!is_free(state, wanted))
            break;
        if (atomic_compare_exchange_weak(&turn->word, &word,
                                         wanted | (word & WAITING))) {
            atomic_store(&turn->owner, self());
            return 0;
        }
    }
    return hl_turn_is_mine(turn) ? -EDEADLK : -EAGAIN;
}

void hl_turn_wait(struct hl_turn *turn)
{
    uint32_t word = atomic_load(&turn->word);

    while ((word & STATE) == HL_CALL || (word & STATE) == HL_WORK) {
        if (word & WAITING ||
            atomic_compare_exchange_weak(&turn->word, &word, word | WAITING)) {
            hl_wait(&turn->word, word | WAITING, hl_now() + PATIENCE_NS);
            break;
        }
    }
}

void hl_turn_leave(struct hl_turn *turn, enum hl_state state)
{
    atomic_store(&turn->owner, 0);
    if (atomic_exchange(&turn->word, state) & WAITING)
        hl_wake(&turn->word);
}

bool hl_turn_ask(struct hl_turn *turn)
{
    uint32_t word = atomic_load(&turn->word);

    do
        if ((word & STATE) != HL_CALL)
            return false;
    while (!atomic_compare_exchange_weak(&turn->word, &word, word | ASKED));
    return true;
}

bool hl_turn_asked(const struct hl_turn *turn)
{
    return atomic_load(&turn->word) & ASKED;
}
