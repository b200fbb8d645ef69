#include "track/linux/chain.h"

#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "os/page.h"
#include "track/linux/context.h"

/* What this thread is in the middle of passing on.  The slot is there before
 * the first fault, so that reading it in a handler cannot allocate.
 *
 * nested: links that are on the stack above us and have had their turn.
 * deferred: links that returned after raising the signal again while it was
 * blocked; that one arrives next and is due below them. */
struct turn {
    int nested;
    int deferred;
};
static __thread struct turn turns[2] HL_THERE_AT_ONCE;

static struct turn *turn_of(int signal)
{
    return &turns[signal == SIGSEGV ? 0 : 1];
}

static bool same(const struct sigaction *a, const struct sigaction *b)
{
    if ((a->sa_flags & SA_SIGINFO) != (b->sa_flags & SA_SIGINFO))
        return false;
    if (a->sa_flags & SA_SIGINFO)
        return a->sa_sigaction == b->sa_sigaction;
    return a->sa_handler == b->sa_handler;
}

void hl_chain_push(struct hl_chain *chain, const struct sigaction *action)
{
    int depth = __atomic_load_n(&chain->depth, __ATOMIC_SEQ_CST);

    for (int i = 0; i < depth; i++) {
        if (same(&chain->links[i], action)) {
            __atomic_store_n(&chain->depth, i + 1, __ATOMIC_SEQ_CST);
            return;
        }
    }
    /* No real program has eight different handlers taking turns; the newest
     * still gets faults that are not ours. */
    if (depth == HL_CHAIN_DEPTH)
        depth--;
    chain->links[depth] = *action;
    __atomic_store_n(&chain->depth, depth + 1, __ATOMIC_SEQ_CST);
}

/* The kernel's own answer.  A fault happens again when the instruction is run
 * again, with the registers that a core dump should show; a signal that
 * somebody sent has to be sent once more.  It is blocked now and arrives on
 * the way out. */
static void default_action(int signal, const siginfo_t *info)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    sigaction(signal, &action, NULL);
    if (info->si_code <= 0)
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
}

static void call(const struct sigaction *action, int signal, siginfo_t *info,
                 void *context)
{
    const ucontext_t *interrupted = context;
    sigset_t mask = interrupted->uc_sigmask, ours;

    for (int s = 1; s < NSIG; s++)
        if (sigismember(&action->sa_mask, s) == 1)
            sigaddset(&mask, s);
    if (action->sa_flags & SA_NODEFER)
        sigdelset(&mask, signal);
    else
        sigaddset(&mask, signal);

    sigprocmask(SIG_SETMASK, &mask, &ours);
    if (action->sa_flags & SA_SIGINFO)
        action->sa_sigaction(signal, info, context);
    else
        action->sa_handler(signal);
    sigprocmask(SIG_SETMASK, &ours, NULL);
}

static bool is_pending(int signal)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, signal) == 1;
}

/* The registers that a handler can change to make the program go on. */
static const mcontext_t *registers(const void *context)
{
    return &((const ucontext_t *)context)->uc_mcontext;
}

/* Did a handler that returned deal with the fault?  If it did not change the
 * registers or our place in the kernel's table, and the memory is still
 * inaccessible, it did not: the instruction would fault again, forever.
 * (faulthandler returns like that once it is disabled.)  A signal that was
 * sent is dealt with by the call itself. */
static bool dealt_with(const struct hl_chain *chain, const siginfo_t *info,
                       const void *context, const mcontext_t *before)
{
    struct sigaction now;

    if (info->si_code <= 0)
        return true;
    if (memcmp(before, registers(context), sizeof *before) != 0)
        return true;
    if (sigaction(chain->signal, NULL, &now) < 0 || !same(&now, &chain->ours))
        return true;
    uintptr_t addr = (uintptr_t)info->si_addr;
    return hl_context_is_write(context, addr) ? hl_is_writable(addr)
                                              : hl_is_readable(addr);
}

enum outcome { DONE, NEXT };

/* Give the signal to one link. */
static enum outcome try_link(struct hl_chain *chain, int level,
                             siginfo_t *info, void *context)
{
    struct sigaction action = chain->links[level];
    bool plain = !(action.sa_flags & SA_SIGINFO);

    if (plain && action.sa_handler == SIG_IGN && info->si_code <= 0)
        return DONE; /* a real fault cannot be ignored, as the kernel has it */
    if (plain &&
        (action.sa_handler == SIG_IGN || action.sa_handler == SIG_DFL)) {
        default_action(chain->signal, info);
        return DONE;
    }
    if (action.sa_flags & (int)SA_RESETHAND) {
        chain->links[level].sa_flags = 0;
        chain->links[level].sa_handler = SIG_DFL;
    }
    mcontext_t before = *registers(context);
    call(&action, chain->signal, info, context);
    if (is_pending(chain->signal))
        return DONE;
    return dealt_with(chain, info, context, &before) ? DONE : NEXT;
}

/* A real fault that the kernel delivers goes to the top, even in the middle of
 * a handler that we called: so it would without us.  That also discards the
 * state of handlers that never returned (siglongjmp). */
void hl_chain_pass(struct hl_chain *chain, siginfo_t *info, void *context,
                   bool by_kernel)
{
    struct turn *turn = turn_of(chain->signal);
    if (by_kernel && info->si_code > 0)
        *turn = (struct turn){0};
    struct turn entry = *turn;
    int skip = entry.nested + entry.deferred;
    int depth = __atomic_load_n(&chain->depth, __ATOMIC_SEQ_CST);
    enum outcome outcome = NEXT;

    turn->deferred = 0;
    for (; outcome == NEXT && skip < depth; skip++) {
        turn->nested = skip + 1;
        outcome = try_link(chain, depth - 1 - skip, info, context);
    }
    if (outcome == NEXT)
        default_action(chain->signal, info);
    turn->nested = entry.nested;
    if (is_pending(chain->signal))
        turn->deferred = skip - entry.nested;
}
