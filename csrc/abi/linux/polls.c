#include "abi/linux/polls.h"

#include <string.h>

#include "abi/linux/clock.h"
#include "abi/linux/ready.h"
#include "abi/linux/suspends.h"

#define WORDS (HL_LINUX_FILES / 64)

struct polled { /* struct pollfd */
    int32_t fd;
    int16_t events, happened;
};

/* How many have something to say; whether the host is waited for. */
static int64_t look(const struct hl_linux *l, struct polled *all, size_t count,
                    bool *listens)
{
    int64_t found = 0;

    for (size_t i = 0; i < count; i++) {
        struct polled *p = &all[i];
        const unsigned wanted =
            (uint16_t)p->events | HL_POLL_ERR | HL_POLL_HUP;
        p->happened = 0;
        if (p->fd < 0)
            continue;
        const struct hl_linux_open *o = hl_linux_opened(l, (uint32_t)p->fd);
        p->happened =
            (int16_t)(o ? hl_linux_events(l, o) & wanted : HL_POLL_NVAL);
        found += p->happened != 0;
        if (o && hl_linux_would_listen(l, o, wanted))
            *listens = true;
    }
    return found;
}

static int64_t poll_for(struct hl_linux *l, const uint64_t *args, uint64_t ns)
{
    struct polled all[HL_LINUX_FILES];
    const size_t count = (uint32_t)args[1];
    bool listens = false;

    if (count > HL_LINUX_FILES)
        return -EINVAL;
    int err = count ? hl_linux_get(l, args[0], all, count * sizeof *all) : 0;
    if (err < 0)
        return err;
    int64_t found = look(l, all, count, &listens);
    if (found == 0 && !hl_linux_time_is_up(l, ns)) {
        l->listens = listens;
        return HL_LINUX_WAITS;
    }
    err = count ? hl_linux_put(l, args[0], all, count * sizeof *all) : 0;
    return err < 0 ? err : found;
}

int64_t hl_linux_poll(struct hl_linux *l, const uint64_t *args)
{
    return poll_for(l, args, hl_linux_ms((int32_t)args[2]));
}

int64_t hl_linux_ppoll(struct hl_linux *l, const uint64_t *args)
{
    uint64_t ns = HL_LINUX_NEVER;

    int err = args[2] ? hl_linux_get_time(l, args[2], &ns) : 0;
    if (err == 0)
        err = hl_linux_swap_mask(l, args[3], args[4]);
    return err < 0 ? err : poll_for(l, args, ns);
}

/* What select is asked, and what it says: for reading, writing, and what else
 * there might be. */
struct sets {
    uint64_t bits[3][WORDS];
};

static int64_t look_at(const struct hl_linux *l, const struct sets *wanted,
                       size_t count, struct sets *found, bool *listens)
{
    static const unsigned means[] = {
        HL_POLL_RDNORM | HL_POLL_IN | HL_POLL_HUP | HL_POLL_ERR,
        HL_POLL_WRNORM | HL_POLL_OUT | HL_POLL_ERR,
        HL_POLL_PRI,
    };
    int64_t total = 0;

    memset(found, 0, sizeof *found);
    for (size_t fd = 0; fd < count; fd++) {
        for (size_t set = 0; set < HL_ARRAY_SIZE(means); set++) {
            const uint64_t bit = UINT64_C(1) << fd % 64;
            if (!(wanted->bits[set][fd / 64] & bit))
                continue;
            const struct hl_linux_open *o = hl_linux_opened(l, fd);
            if (o == NULL)
                return -EBADF;
            if (hl_linux_would_listen(l, o, means[set]))
                *listens = true;
            if (!(hl_linux_events(l, o) & means[set]))
                continue;
            found->bits[set][fd / 64] |= bit;
            total++;
        }
    }
    return total;
}

static int get_sets(const struct hl_linux *l, const uint64_t *args,
                    size_t size, struct sets *sets)
{
    int err = 0;

    memset(sets, 0, sizeof *sets);
    for (size_t i = 0; i < 3 && err == 0 && size > 0; i++)
        if (args[1 + i])
            err = hl_linux_get(l, args[1 + i], sets->bits[i], size);
    return err;
}

static int put_sets(const struct hl_linux *l, const uint64_t *args,
                    size_t size, const struct sets *sets)
{
    int err = 0;

    for (size_t i = 0; i < 3 && err == 0 && size > 0; i++)
        if (args[1 + i])
            err = hl_linux_put(l, args[1 + i], sets->bits[i], size);
    return err;
}

/* Descriptors that there cannot be are not looked at, as Linux has it. */
static int64_t select_for(struct hl_linux *l, const uint64_t *args,
                          uint64_t ns)
{
    size_t count = (uint32_t)args[0];
    struct sets wanted, found;
    bool listens = false;

    if ((int32_t)args[0] < 0)
        return -EINVAL;
    if (count > HL_LINUX_FILES)
        count = HL_LINUX_FILES;
    const size_t size = (count + 63) / 64 * sizeof(uint64_t);
    int err = get_sets(l, args, size, &wanted);
    if (err < 0)
        return err;
    int64_t total = look_at(l, &wanted, count, &found, &listens);
    if (total < 0)
        return total;
    if (total == 0 && !hl_linux_time_is_up(l, ns)) {
        l->listens = listens;
        return HL_LINUX_WAITS;
    }
    err = put_sets(l, args, size, &found);
    return err < 0 ? err : total;
}

int64_t hl_linux_select(struct hl_linux *l, const uint64_t *args)
{
    uint64_t ns = HL_LINUX_NEVER;

    int err = args[4] ? hl_linux_get_timeval(l, args[4], &ns) : 0;
    return err < 0 ? err : select_for(l, args, ns);
}

/* The mask is behind one pointer more. */
int64_t hl_linux_pselect6(struct hl_linux *l, const uint64_t *args)
{
    uint64_t ns = HL_LINUX_NEVER, mask[2] = {0};

    int err = args[4] ? hl_linux_get_time(l, args[4], &ns) : 0;
    if (err == 0 && args[5])
        err = hl_linux_get(l, args[5], mask, sizeof mask);
    if (err == 0)
        err = hl_linux_swap_mask(l, mask[0], mask[1]);
    return err < 0 ? err : select_for(l, args, ns);
}
