#include "track/fault.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "mem/lock.h"
#include "mem/vma.h"
#include "track/chain.h"

/* Ascending by start, disjoint, never changed once published. */
struct table {
    size_t count;
    struct hl_fault_region *regions[];
};

static struct table *_Atomic current;

/* Handlers that are inside, by the phase they came in.  A waiter flips the
 * phase and waits for the old side to drain, twice: one that read the phase
 * before a flip may count itself in only after the waiter looked. */
static atomic_uint phase;
static atomic_size_t inside[2];

/* Guards all that follows, and changes of `current`; never taken in a
 * handler. */
static struct hl_lock lock, waiting;
static struct hl_chain chains[HL_FAULT_SIGNALS] = {
    {.signal = SIGSEGV},
    {.signal = SIGBUS},
};
static bool installed[HL_FAULT_SIGNALS];

static int index_of(int signal) { return signal == SIGSEGV ? 0 : 1; }

static struct hl_fault_region *find(int signal, uintptr_t addr)
{
    const struct table *table = atomic_load(&current);
    size_t low = 0, high = table ? table->count : 0;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        struct hl_fault_region *region = table->regions[mid];
        if (addr < region->start)
            high = mid;
        else if (addr >= region->end)
            low = mid + 1;
        else
            return region->signal == signal ? region : NULL;
    }
    return NULL;
}

/* The signal handler's part that touches the table. */
static bool serve(int signal, uintptr_t addr)
{
    unsigned side = atomic_load(&phase) & 1;

    atomic_fetch_add(&inside[side], 1);
    struct hl_fault_region *region = find(signal, addr);
    bool opened = region != NULL && region->open_page(region, addr);
    atomic_fetch_sub(&inside[side], 1);
    return opened;
}

/* A write that protection stopped: of all the ways to get these signals, the
 * only one that is for us. */
static bool is_write_fault(int signal, const siginfo_t *info,
                           const void *context)
{
    return info->si_code == (signal == SIGSEGV ? SEGV_ACCERR : BUS_ADRERR) &&
           hl_context_is_write(context);
}

/* The handler.  Async-signal-safe: atomics, the region's open_page, and
 * system calls.  A page of nobody's that can be written by now is a fault that
 * was on its way while its region was opened and removed: running the
 * instruction again is all it needs.  Every signal is blocked meanwhile, so
 * that no other handler can fault on a page of ours with SIGSEGV blocked,
 * which would be fatal. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t addr = (uintptr_t)info->si_addr;

    if (!is_write_fault(signal, info, context) ||
        !(serve(signal, addr) || hl_is_writable(addr)))
        hl_chain_pass(&chains[index_of(signal)], info, context);
    errno = saved;
}

static bool is_ours(const struct sigaction *action)
{
    return action->sa_flags & SA_SIGINFO && action->sa_sigaction == on_fault;
}

/* Put our handler first; what was there goes on the chain, before ours can be
 * called.  With the lock held. */
static int go_first(int signal)
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

void hl_fault_quiesce(void)
{
    hl_lock_acquire(&waiting);
    for (int round = 0; round < 2; round++) {
        unsigned side = atomic_fetch_add(&phase, 1) & 1;
        while (atomic_load(&inside[side]) != 0)
            sched_yield();
    }
    hl_lock_release(&waiting);
}

static struct table *new_table(size_t count)
{
    struct table *table =
        malloc(sizeof *table + count * sizeof table->regions[0]);
    if (table != NULL)
        table->count = count;
    return table;
}

/* A table in a published state is only read, so a changed copy replaces it. */
static void publish(struct table *table)
{
    struct table *old = atomic_exchange(&current, table);
    hl_fault_quiesce();
    free(old);
}

int hl_fault_add(struct hl_fault_region *region)
{
    hl_lock_acquire(&lock);
    const struct table *old = atomic_load(&current);
    size_t count = old ? old->count : 0;
    struct table *table = new_table(count + 1);
    int err = table ? go_first(region->signal) : -ENOMEM;

    if (err < 0) {
        free(table);
    } else {
        size_t i = 0, at = 0;
        while (at < count && old->regions[at]->start < region->start)
            table->regions[i++] = old->regions[at++];
        table->regions[i++] = region;
        while (at < count)
            table->regions[i++] = old->regions[at++];
        publish(table);
    }
    hl_lock_release(&lock);
    return err;
}

void hl_fault_remove(struct hl_fault_region *region)
{
    hl_lock_acquire(&lock);
    struct table *old = atomic_load(&current), *table;
    size_t kept = 0;

    /* Removing cannot fail: without memory for a smaller table, the old one
     * is edited while nobody is inside. */
    table = new_table(old->count - 1);
    if (table == NULL) {
        atomic_store(&current, NULL);
        hl_fault_quiesce();
        table = old;
    }
    for (size_t i = 0, count = old->count; i < count; i++)
        if (old->regions[i] != region)
            table->regions[kept++] = old->regions[i];
    table->count = kept;
    if (table == old)
        atomic_store(&current, table);
    else
        publish(table);
    hl_lock_release(&lock);
}

void hl_fault_reclaim(void)
{
    hl_lock_acquire(&lock);
    for (int i = 0; i < HL_FAULT_SIGNALS; i++)
        if (installed[i])
            (void)go_first(chains[i].signal);
    hl_lock_release(&lock);
}

void hl_fault_status(struct hl_fault_status status[HL_FAULT_SIGNALS])
{
    hl_lock_acquire(&lock);
    for (int i = 0; i < HL_FAULT_SIGNALS; i++) {
        struct sigaction now;
        bool known = sigaction(chains[i].signal, NULL, &now) == 0;
        status[i] = (struct hl_fault_status){
            .signal = chains[i].signal,
            .installed = installed[i],
            .first = known && is_ours(&now),
        };
    }
    hl_lock_release(&lock);
}

/* The threads that were inside a handler do not exist in the child. */
static void in_child(struct hl_lock *unused)
{
    (void)unused;
    atomic_store(&inside[0], 0);
    atomic_store(&inside[1], 0);
}

__attribute__((constructor)) static void make_locks(void)
{
    hl_lock_init(&lock, HL_RANK_FAULT);
    hl_lock_init(&waiting, HL_RANK_FAULT_WAITING);
    waiting.in_child = in_child;
}
