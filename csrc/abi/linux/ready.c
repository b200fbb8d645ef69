/* What would not wait. */
#include "abi/linux/ready.h"

static const struct hl_linux_open *
is_set_ready(const struct hl_linux *l, const struct hl_linux_open *set)
{
    for (size_t i = 0; i < HL_LINUX_WATCHES; i++) {
        const struct hl_linux_watch *w = &l->process->watches[i];
        const struct hl_linux_open *o = hl_linux_watched(l, w, set);
        if (o && hl_linux_reports(l, w, o))
            return o;
    }
    return NULL;
}

unsigned hl_linux_ready(const struct hl_linux *l,
                        const struct hl_linux_open *o)
{
    const struct hl_linux_kind_ops *kind = hl_linux_kind(o);

    if (o->kind == HL_LINUX_EPOLL)
        return is_set_ready(l, o) ? HL_POLL_IN : 0;
    return kind->ready ? kind->ready(l, o) : HL_POLL_IN | HL_POLL_OUT;
}

/* What is written and read is of one priority. */
unsigned hl_linux_events(const struct hl_linux *l,
                         const struct hl_linux_open *o)
{
    unsigned ready = hl_linux_ready(l, o);

    return ready | (ready & HL_POLL_IN ? HL_POLL_RDNORM : 0) |
           (ready & HL_POLL_OUT ? HL_POLL_WRNORM : 0);
}

uint64_t hl_linux_changes(const struct hl_linux *l,
                          const struct hl_linux_open *o)
{
    const struct hl_linux_kind_ops *kind = hl_linux_kind(o);

    return kind->changes ? kind->changes(l, o) : 0;
}

/* Sets do not watch sets, so this goes no deeper. */
unsigned hl_linux_reports(const struct hl_linux *l,
                          const struct hl_linux_watch *w,
                          const struct hl_linux_open *o)
{
    unsigned events = hl_linux_events(l, o), wanted = w->events;

    if ((wanted & ~HL_EPOLL_KEPT) == 0)
        return 0;
    if (wanted & HL_EPOLL_EDGES && (events & ~w->seen) == 0 &&
        hl_linux_changes(l, o) == w->changes)
        return 0;
    return events & (wanted | HL_POLL_ERR | HL_POLL_HUP) & ~HL_EPOLL_KEPT;
}

bool hl_linux_would_listen(const struct hl_linux *l,
                           const struct hl_linux_open *o, unsigned wanted)
{
    return o->kind == HL_LINUX_TALK && l->process->talk == HL_LINUX_LISTENS &&
           wanted & (HL_POLL_IN | HL_POLL_RDNORM);
}
