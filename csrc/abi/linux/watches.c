#include "abi/linux/watches.h"

#include "abi/linux/kinds.h"

#define ANONYMOUS UINT32_C(0000600)

static uint16_t number_of(const struct hl_linux *l,
                          const struct hl_linux_open *o)
{
    return (uint16_t)(1 + (o - l->process->open));
}

void hl_linux_change_watch(const struct hl_linux *l,
                           const struct hl_linux_watch *watch)
{
    hl_window_own(&l->window, watch, sizeof *watch);
}

struct hl_linux_watch *hl_linux_find_watch(const struct hl_linux *l,
                                           const struct hl_linux_open *set,
                                           uint64_t fd)
{
    const struct hl_linux_open *open = hl_linux_opened(l, fd);
    struct hl_linux_watch *w = l->process->watches;

    for (; w < &l->process->watches[HL_LINUX_WATCHES]; w++)
        if (hl_linux_watched(l, w, set) == open && w->fd == (uint32_t)fd)
            return w;
    return NULL;
}

struct hl_linux_watch *hl_linux_add_watch(struct hl_linux *l,
                                          const struct hl_linux_open *set,
                                          uint64_t fd)
{
    struct hl_linux_watch *w = l->process->watches;

    while (w < &l->process->watches[HL_LINUX_WATCHES] && w->set)
        w++;
    if (w == &l->process->watches[HL_LINUX_WATCHES])
        return NULL;
    hl_linux_change_watch(l, w);
    *w = (struct hl_linux_watch){
        .set = number_of(l, set),
        .open = number_of(l, hl_linux_opened(l, fd)),
        .fd = (uint32_t)fd,
    };
    return w;
}

const struct hl_linux_open *hl_linux_watched(const struct hl_linux *l,
                                             const struct hl_linux_watch *w,
                                             const struct hl_linux_open *set)
{
    return w->set == number_of(l, set) ? &l->process->open[w->open - 1] : NULL;
}

void hl_linux_forget_watches(struct hl_linux *l,
                             const struct hl_linux_open *open)
{
    const uint16_t number = number_of(l, open);

    for (size_t i = 0; i < HL_LINUX_WATCHES; i++) {
        struct hl_linux_watch *w = &l->process->watches[i];
        if (w->set != number && w->open != number)
            continue;
        hl_linux_change_watch(l, w);
        *w = (struct hl_linux_watch){0};
    }
}

const struct hl_linux_kind_ops hl_linux_epoll_set = {.mode = ANONYMOUS};
