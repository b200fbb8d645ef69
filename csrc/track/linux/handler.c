#include "track/handler.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "os/page.h"
#include "track/linux/chain.h"
#include "track/linux/context.h"
#include "track/regions.h"

const int hl_handler_signals[] = {SIGSEGV, SIGBUS};
const size_t hl_handler_signal_count = HL_ARRAY_SIZE(hl_handler_signals);

const char hl_handler_call[] = "sigaction";

static struct hl_chain chains[HL_FAULT_SIGNALS] = {
    {.signal = SIGSEGV},
    {.signal = SIGBUS},
};
static atomic_bool installed[HL_FAULT_SIGNALS];

static int index_of(int signal) { return signal == SIGSEGV ? 0 : 1; }

/* A page that we closed for writing can still be read.  If it cannot, its
 * owner put a guard there.  Checked only if no page was present, which is the
 * case for a guard, for a first touch, and beyond the end of a file; the
 * latter is opened, so that it ends in the SIGBUS that it should. */
static bool can_be_read(int signal, uintptr_t addr, const void *context)
{
    return signal != SIGSEGV || hl_context_is_present(context) ||
           hl_is_readable(addr) || hl_is_behind_end(addr);
}

/* A write that protection stopped: of all the ways to get these signals, the
 * only one that is for us. */
static bool is_write_fault(int signal, const siginfo_t *info,
                           const void *context)
{
    uintptr_t addr = (uintptr_t)info->si_addr;

    return info->si_code == (signal == SIGSEGV ? SEGV_ACCERR : BUS_ADRERR) &&
           hl_context_is_write(context, addr) &&
           can_be_read(signal, addr, context);
}

/* The handler.  Async-signal-safe: atomics, the region's open_page, and
 * system calls.  If the page is in no region and can be written now, the fault
 * was on its way while its region was opened and removed: it is enough to run
 * the instruction again.  Every signal is blocked meanwhile, so
 * that no other handler can fault on a page of ours with SIGSEGV blocked,
 * which would be fatal. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t addr = (uintptr_t)info->si_addr;

    if (!is_write_fault(signal, info, context) ||
        !(hl_regions_serve(signal, addr) || hl_is_writable(addr)))
        hl_chain_pass(&chains[index_of(signal)], info, context,
                      hl_context_is_from_kernel(context,
                                                __builtin_frame_address(0),
                                                __builtin_return_address(0)));
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_fault;
}

/* What was there goes on the chain, before ours can be called. */
int hl_handler_go_first(int signal)
{
    struct hl_chain *chain = &chains[index_of(signal)];
    struct sigaction old;

    if (sigaction(signal, NULL, &old) < 0)
        return -errno;
    if (is_ours(&old))
        return 0;
    if (!installed[index_of(signal)]) {
        chain->ours = (struct sigaction){
            .sa_sigaction = on_fault,
            .sa_flags = SA_SIGINFO | SA_ONSTACK,
        };
        sigfillset(&chain->ours.sa_mask);
    }
    hl_chain_push(chain, &old);
    if (sigaction(signal, &chain->ours, NULL) < 0)
        return -errno;
    installed[index_of(signal)] = true;
    return 0;
}

bool hl_handler_is_installed(int signal)
{
    return atomic_load(&installed[index_of(signal)]);
}

struct hl_fault_status hl_handler_status(int signal)
{
    struct sigaction now;
    bool known = sigaction(signal, NULL, &now) == 0;

    return (struct hl_fault_status){
        .signal = signal,
        .installed = installed[index_of(signal)],
        .first = known && is_ours(&now),
    };
}
