/* How a run is ended from outside: by WHvCancelRunVirtualProcessor, which is
 * called until it has.
 *
 * What a cancel does that comes just before WHvRunVirtualProcessor is not
 * documented.  If the next run ends at once, nothing is lost, and neither if
 * it does so without need (V4).  For the other case a kick starts a timer,
 * which cancels again every few milliseconds until the run is over: on a
 * thread of Windows' own, since a kick may take no lock. */
#include "os/native.h"
#include "vm/whp/machine.h"

#define AGAIN_MS 1

static void cancel(const struct hl_whp *m)
{
    (void)m->calls->cancel(m->partition, 0, 0);
}

static void CALLBACK cancel_again(PTP_CALLBACK_INSTANCE instance,
                                  void *context, PTP_TIMER timer)
{
    (void)instance;
    (void)timer;
    cancel(context);
}

int hl_whp_kick_init(struct hl_whp *m)
{
    m->timer = CreateThreadpoolTimer(cancel_again, m, NULL);
    return m->timer ? 0 : -ENOMEM;
}

static void stop_timer(const struct hl_whp *m)
{
    SetThreadpoolTimer(m->timer, NULL, 0, 0);
    WaitForThreadpoolTimerCallbacks(m->timer, TRUE);
}

void hl_whp_kick_free(struct hl_whp *m)
{
    if (m->timer == NULL)
        return;
    stop_timer(m);
    CloseThreadpoolTimer(m->timer);
}

void hl_whp_kick_open(struct hl_whp *m)
{
    atomic_store(&m->kick, HL_WHP_INSIDE);
}

void hl_whp_kick_close(struct hl_whp *m)
{
    enum hl_whp_kick was = HL_WHP_INSIDE;

    while (!atomic_compare_exchange_strong(&m->kick, &was, HL_WHP_OUTSIDE)) {
        if (was == HL_WHP_SENT) {
            stop_timer(m);
            atomic_store(&m->kick, HL_WHP_OUTSIDE);
            break;
        }
        hl_yield(); /* the sender is between two lines of hl_whp_kick */
        was = HL_WHP_INSIDE;
    }
}

/* `kicked` is set before `kick` is looked at, and looked at after `kick` is
 * set: either the runner sees it before it runs, or it is cancelled. */
void hl_whp_kick(struct hl_vm *vm)
{
    struct hl_whp *m = hl_whp_of(vm);
    enum hl_whp_kick was = HL_WHP_INSIDE;
    FILETIME at_once = {0, 0};

    atomic_store(&m->kicked, true);
    if (atomic_compare_exchange_strong(&m->kick, &was, HL_WHP_SENDING)) {
        cancel(m);
        SetThreadpoolTimer(m->timer, &at_once, AGAIN_MS, 0);
        atomic_store(&m->kick, HL_WHP_SENT);
    }
}
