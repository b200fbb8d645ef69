#include "track/fault.h"

#include "os/lock.h"
#include "track/handler.h"
#include "track/regions.h"

/* Guards the table's changes and the handler's; never taken in a handler. */
static struct hl_lock lock;

int hl_fault_add(struct hl_fault_region *region)
{
    hl_lock_acquire(&lock);
    int err = hl_handler_go_first(region->signal);
    if (err == 0)
        err = hl_regions_add(region);
    hl_lock_release(&lock);
    return err;
}

void hl_fault_remove(struct hl_fault_region *region)
{
    hl_lock_acquire(&lock);
    hl_regions_remove(region);
    hl_lock_release(&lock);
}

void hl_fault_reclaim_signal(int signal)
{
    if (!hl_handler_is_installed(signal))
        return;
    hl_lock_acquire(&lock);
    (void)hl_handler_go_first(signal);
    hl_lock_release(&lock);
}

void hl_fault_reclaim(void)
{
    for (size_t i = 0; i < hl_handler_signal_count; i++)
        hl_fault_reclaim_signal(hl_handler_signals[i]);
}

size_t hl_fault_status(struct hl_fault_status status[HL_FAULT_SIGNALS])
{
    hl_lock_acquire(&lock);
    for (size_t i = 0; i < hl_handler_signal_count; i++)
        status[i] = hl_handler_status(hl_handler_signals[i]);
    hl_lock_release(&lock);
    return hl_handler_signal_count;
}

__attribute__((constructor)) static void make_lock(void)
{
    hl_lock_init(&lock, HL_RANK_FAULT);
}
