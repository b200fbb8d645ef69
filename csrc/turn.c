#include "turn.h"

#include <stdatomic.h>

#include "os/forked.h"
#include "os/wait.h"

#define STATE 0xfu
#define ASKED 0x10u   /* U2 */
#define WAITING 0x20u /* somebody sleeps on the word */

/* Until a thread that waits looks for signals. */
#define PATIENCE_NS UINT64_C(10000000)

/* How long a thread that left lets others go first, and how long a waiting
 * thread sleeps while another has precedence. */
#define POLITE_NS UINT64_C(20000000)
#define NAP_NS UINT64_C(100000)

bool hl_turn_owner_lives(const struct hl_turn *turn)
{
    return hl_thread_forked(atomic_load(&turn->owner));
}

void hl_turn_init(struct hl_turn *turn)
{
    atomic_init(&turn->word, HL_READY);
    atomic_init(&turn->owner, 0);
    atomic_init(&turn->last, 0);
    atomic_init(&turn->left_at, 0);
    atomic_init(&turn->waiting, 0);
    turn->generation = hl_fork_generation();
}

enum hl_state hl_turn_state(const struct hl_turn *turn)
{
    return (enum hl_state)(atomic_load(&turn->word) & STATE);
}

/* Nobody else ever writes this thread's name there. */
bool hl_turn_is_mine(const struct hl_turn *turn)
{
    return atomic_load(&turn->owner) == hl_thread_number();
}

bool hl_turn_is_forked(const struct hl_turn *turn)
{
    return turn->generation != hl_fork_generation();
}

static bool is_free(enum hl_state state, enum hl_state wanted)
{
    return state == HL_READY || (state == HL_POISONED && wanted == HL_WORK);
}

/* Has this thread just left, and others wait for it to let them in? */
static bool lets_others_in(const struct hl_turn *turn, bool waits)
{
    uint32_t others = atomic_load(&turn->waiting) - (waits ? 1 : 0);

    return others > 0 && atomic_load(&turn->last) == hl_thread_number() &&
           hl_now() < atomic_load(&turn->left_at) + POLITE_NS;
}

/* WAITING is kept when a thread enters: waiting threads are woken when the
 * turn is given back, by any thread. */
int hl_turn_enter(struct hl_turn *turn, enum hl_state wanted, bool waits)
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
        if (lets_others_in(turn, waits))
            return -EAGAIN;
        if (atomic_compare_exchange_weak(&turn->word, &word,
                                         wanted | (word & WAITING))) {
            atomic_store(&turn->owner, hl_thread_number());
            atomic_store(&turn->last, 0);
            return 0;
        }
    }
    return hl_turn_is_mine(turn) ? -EDEADLK : -EAGAIN;
}

void hl_turn_queue(struct hl_turn *turn)
{
    atomic_fetch_add(&turn->waiting, 1);
}

void hl_turn_unqueue(struct hl_turn *turn)
{
    atomic_fetch_sub(&turn->waiting, 1);
}

void hl_turn_wait(struct hl_turn *turn)
{
    uint32_t word = atomic_load(&turn->word);

    while ((word & STATE) == HL_CALL || (word & STATE) == HL_WORK) {
        if (word & WAITING ||
            atomic_compare_exchange_weak(&turn->word, &word, word | WAITING)) {
            hl_wait(&turn->word, word | WAITING, hl_now() + PATIENCE_NS);
            return;
        }
    }
    hl_wait(&turn->word, word, hl_now() + NAP_NS);
}

void hl_turn_leave(struct hl_turn *turn, enum hl_state state)
{
    atomic_store(&turn->owner, 0);
    if (atomic_load(&turn->waiting)) {
        atomic_store(&turn->left_at, hl_now());
        atomic_store(&turn->last, hl_thread_number());
    }
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
