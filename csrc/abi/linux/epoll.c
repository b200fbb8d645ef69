#include "abi/linux/epoll.h"

#include "abi/linux/clock.h"
#include "abi/linux/descriptors.h"
#include "abi/linux/ready.h"
#include "abi/linux/suspends.h"

#define RDWR 2u
#define ADD 1
#define DELETE 2
#define MODIFY 3

struct event { /* struct epoll_event, which is packed */
    uint32_t events;
    uint32_t data[2];
};
_Static_assert(sizeof(struct event) == 12, "linux/eventpoll.h");

#define MOST_EVENTS (INT32_MAX / (int32_t)sizeof(struct event))

int64_t hl_linux_epoll_create1(struct hl_linux *l, const uint64_t *args)
{
    struct hl_linux_open *set;

    if (args[0] & ~(uint64_t)HL_O_CLOEXEC)
        return -EINVAL;
    return hl_linux_open(l, HL_LINUX_EPOLL, args[0] | RDWR, &set);
}

int64_t hl_linux_epoll_create(struct hl_linux *l, const uint64_t *args)
{
    const uint64_t flags = 0;

    return (int32_t)args[0] > 0 ? hl_linux_epoll_create1(l, &flags) : -EINVAL;
}

static int find_set(const struct hl_linux *l, uint64_t fd,
                    struct hl_linux_open **set)
{
    *set = hl_linux_opened(l, fd);
    if (*set == NULL)
        return -EBADF;
    return (*set)->kind == HL_LINUX_EPOLL ? 0 : -EINVAL;
}

static int check(const struct hl_linux *l, const uint64_t *args,
                 struct hl_linux_open **set)
{
    const struct hl_linux_open *o = hl_linux_opened(l, args[2]);

    if (hl_linux_opened(l, args[0]) == NULL || o == NULL)
        return -EBADF;
    if (hl_linux_kind(o)->cannot_watch)
        return -EPERM;
    int err = find_set(l, args[0], set);
    if (err < 0 || o == *set)
        return -EINVAL;
    return o->kind == HL_LINUX_EPOLL ? -ELOOP : 0; /* none within another */
}

int64_t hl_linux_epoll_ctl(struct hl_linux *l, const uint64_t *args)
{
    const uint32_t what = (uint32_t)args[1];
    struct event event = {0};
    struct hl_linux_open *set;

    if (what != DELETE && hl_linux_get(l, args[3], &event, sizeof event) < 0)
        return -EFAULT;
    int err = check(l, args, &set);
    if (err < 0)
        return err;
    struct hl_linux_watch *w = hl_linux_find_watch(l, set, args[2]);
    if (what == ADD && w)
        return -EEXIST;
    if (what == ADD && (w = hl_linux_add_watch(l, set, args[2])) == NULL)
        return -ENOSPC;
    if (what != ADD && what != DELETE && what != MODIFY)
        return -EINVAL;
    if (w == NULL)
        return -ENOENT;
    hl_linux_change_watch(l, w);
    if (what == DELETE) {
        *w = (struct hl_linux_watch){0};
        return 0;
    }
    w->events = event.events;
    w->data = (uint64_t)event.data[1] << 32 | event.data[0];
    w->seen = 0; /* what is ready is news */
    w->changes = hl_linux_changes(l, hl_linux_opened(l, args[2]));
    return 0;
}

/* E2: this was a look at it. */
static void note(struct hl_linux *l, struct hl_linux_watch *w,
                 const struct hl_linux_open *o, bool reported)
{
    const uint32_t seen = hl_linux_events(l, o);
    const uint64_t changes = hl_linux_changes(l, o);
    bool shot = reported && w->events & HL_EPOLL_ONESHOT;

    if (w->seen == seen && w->changes == changes && !shot)
        return;
    hl_linux_change_watch(l, w);
    w->seen = seen;
    w->changes = changes;
    if (shot)
        w->events &= HL_EPOLL_KEPT;
}

/* From the one on that the last call had no room for. */
static int64_t report(struct hl_linux *l, struct hl_linux_open *set,
                      uint64_t addr, size_t room, bool *listens)
{
    size_t found = 0, next = (size_t)set->offset;

    for (size_t i = 0; i < HL_LINUX_WATCHES && found < room; i++) {
        const size_t index = (set->offset + i) % HL_LINUX_WATCHES;
        struct hl_linux_watch *w = &l->process->watches[index];
        const struct hl_linux_open *o = hl_linux_watched(l, w, set);
        if (o == NULL)
            continue;
        const struct event event = {
            hl_linux_reports(l, w, o),
            {(uint32_t)w->data, (uint32_t)(w->data >> 32)},
        };
        if (hl_linux_would_listen(l, o, w->events))
            *listens = true;
        if (event.events && hl_linux_put(l, addr + found * sizeof event,
                                         &event, sizeof event) < 0)
            return found ? (int64_t)found : -EFAULT;
        note(l, w, o, event.events != 0);
        if (event.events == 0)
            continue;
        found++;
        next = (index + 1) % HL_LINUX_WATCHES;
    }
    set->offset = next;
    return (int64_t)found;
}

static int64_t wait_for(struct hl_linux *l, const uint64_t *args, uint64_t ns)
{
    const int32_t room = (int32_t)args[2];
    struct hl_linux_open *set;
    bool listens = false;

    if (room <= 0 || room > MOST_EVENTS)
        return -EINVAL;
    int err = find_set(l, args[0], &set);
    if (err < 0)
        return err;
    int64_t found = report(l, set, args[1], (size_t)room, &listens);
    if (found != 0 || hl_linux_time_is_up(l, ns))
        return found;
    l->listens = listens;
    return HL_LINUX_WAITS;
}

int64_t hl_linux_epoll_wait(struct hl_linux *l, const uint64_t *args)
{
    return wait_for(l, args, hl_linux_ms((int32_t)args[3]));
}

int64_t hl_linux_epoll_pwait(struct hl_linux *l, const uint64_t *args)
{
    int err = hl_linux_swap_mask(l, args[4], args[5]);

    return err < 0 ? err : hl_linux_epoll_wait(l, args);
}

int64_t hl_linux_epoll_pwait2(struct hl_linux *l, const uint64_t *args)
{
    uint64_t ns = HL_LINUX_NEVER;

    int err = args[3] ? hl_linux_get_time(l, args[3], &ns) : 0;
    if (err == 0)
        err = hl_linux_swap_mask(l, args[4], args[5]);
    return err < 0 ? err : wait_for(l, args, ns);
}
