#include "track/fault.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "inject.h"
#include "os/lock.h"
#include "os/page.h"
#include "track/chain.h"
#include "track/context.h"

/* Ascending by start, disjoint, never changed while it is published. */
struct table {
    size_t count, room;
    struct hl_fault_region *regions[];
};

/* The table that handlers read, and the one that the next change is written
 * to: after a change they have traded places.  Both have the same room, so
 * that removing needs no memory. */
static struct table *_Atomic current;
static struct table *spare;

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
static atomic_bool installed[HL_FAULT_SIGNALS];

static int index_of(int signal) { return signal == SIGSEGV ? 0 : 1; }

/* Index of the first region that ends after `addr`. */
static size_t first_ending_after(const struct table *table, uintptr_t addr)
{
    size_t low = 0, high = table ? table->count : 0;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (table->regions[mid]->end > addr)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static struct hl_fault_region *find(int signal, uintptr_t addr)
{
    const struct table *table = atomic_load(&current);
    size_t at = first_ending_after(table, addr);

    if (table == NULL || at == table->count)
        return NULL;
    struct hl_fault_region *region = table->regions[at];
    return region->start <= addr && region->signal == signal ? region : NULL;
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
        !(serve(signal, addr) || hl_is_writable(addr)))
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

static struct table *new_table(size_t room)
{
    struct table *table =
        HL_INJECT(HL_INJECT_TABLE)
            ? NULL
            : malloc(sizeof *table + room * sizeof table->regions[0]);
    if (table != NULL)
        *table = (struct table){.room = room};
    return table;
}

/* Publish the next table.  When this returns no handler reads the old one,
 * which is what is returned. */
static struct table *publish(struct table *next)
{
    struct table *old = atomic_exchange(&current, next);
    hl_fault_quiesce();
    return old;
}

static void copy(struct hl_fault_region **to,
                 struct hl_fault_region *const *from, size_t count)
{
    if (count > 0)
        memcpy(to, from, count * sizeof *to);
}

/* `from` with `region` in its place, which is not there yet.  Regions are not
 * looked at but on the way to that place: a pointer each is copied, which is
 * 1 us for 4000 of them. */
static void copy_with(struct table *to, const struct table *from,
                      struct hl_fault_region *region)
{
    size_t count = from ? from->count : 0;
    size_t at = first_ending_after(from, region->start);

    if (from != NULL)
        copy(to->regions, from->regions, at);
    to->regions[at] = region;
    if (from != NULL)
        copy(to->regions + at + 1, from->regions + at, count - at);
    to->count = count + 1;
}

/* `from` without `region`, if it is there. */
static void copy_without(struct table *to, const struct table *from,
                         const struct hl_fault_region *region)
{
    size_t at = first_ending_after(from, region->start), next = at;

    if (at < from->count && from->regions[at] == region)
        next++;
    copy(to->regions, from->regions, at);
    copy(to->regions + at, from->regions + next, from->count - next);
    to->count = from->count - (next - at);
}

/* Tables for more regions: two, or none. */
static int add_growing(struct hl_fault_region *region, size_t count)
{
    struct table *next = new_table(2 * count + 8);
    struct table *after = new_table(2 * count + 8);

    if (next == NULL || after == NULL) {
        free(next);
        free(after);
        return -ENOMEM;
    }
    copy_with(next, atomic_load(&current), region);
    free(publish(next));
    free(spare);
    spare = after;
    return 0;
}

static int add(struct hl_fault_region *region)
{
    const struct table *old = atomic_load(&current);

    if (old == NULL || old->count == old->room)
        return add_growing(region, old ? old->count : 0);
    copy_with(spare, old, region);
    spare = publish(spare);
    return 0;
}

int hl_fault_add(struct hl_fault_region *region)
{
    hl_lock_acquire(&lock);
    int err = go_first(region->signal);
    if (err == 0)
        err = add(region);
    hl_lock_release(&lock);
    return err;
}

void hl_fault_remove(struct hl_fault_region *region)
{
    hl_lock_acquire(&lock);
    copy_without(spare, atomic_load(&current), region);
    spare = publish(spare);
    hl_lock_release(&lock);
}

void hl_fault_reclaim_signal(int signal)
{
    if (!atomic_load(&installed[index_of(signal)]))
        return;
    hl_lock_acquire(&lock);
    (void)go_first(signal);
    hl_lock_release(&lock);
}

void hl_fault_reclaim(void)
{
    for (int i = 0; i < HL_FAULT_SIGNALS; i++)
        hl_fault_reclaim_signal(chains[i].signal);
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
