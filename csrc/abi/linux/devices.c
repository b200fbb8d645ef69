/* What is in /dev: nothing, zeros, chance, and the talk with the host. */
#include <string.h>

#include "abi/linux/kinds.h"
#include "os/memory.h"

#define DEVICE UINT32_C(0020666)
#define O_DIRECT_ UINT32_C(040000)

/* Bytes of a request that are left. */
static uint64_t left_of(const struct hl_linux *l)
{
    const struct hl_linux_process *p = l->process;

    return p->talk == HL_LINUX_ASKED ? l->request_size - p->request_at : 0;
}

/* As a pipe does it: with O_DIRECT a request is read at once, and what the
 * program had no room for is lost; without, an end follows its last byte. */
static int64_t read_request(struct hl_linux *l, struct hl_linux_open *o,
                            uint64_t at, uint64_t addr, uint64_t size)
{
    struct hl_linux_process *p = l->process;
    bool packets = o->flags & O_DIRECT_;
    uint64_t left = left_of(l);

    (void)at;
    if (p->talk == HL_LINUX_READ_TO_END) {
        p->talk = HL_LINUX_LISTENS;
        if (!packets)
            return 0;
    }
    if (p->talk == HL_LINUX_LISTENS) {
        if (o->flags & HL_O_NONBLOCK)
            return -EAGAIN;
        l->listens = true;
        return HL_LINUX_WAITS;
    }
    if (size > left)
        size = left;
    int err =
        size ? hl_linux_put(l, addr, l->request + p->request_at, size) : 0;
    if (err < 0)
        return err;
    p->request_at += size;
    if (packets)
        p->talk = HL_LINUX_LISTENS;
    else if (size == left)
        p->talk = size ? HL_LINUX_READ_TO_END : HL_LINUX_LISTENS;
    return (int64_t)size;
}

/* With O_DIRECT one write is the answer, and so the end of the exchange. */
static int64_t write_answer(struct hl_linux *l, struct hl_linux_open *o,
                            uint64_t at, uint64_t addr, uint64_t size)
{
    const void *from = hl_window_read(&l->window, addr, size);

    (void)at;
    if (from == NULL)
        return -EFAULT;
    if (size > l->output_limit - l->answer.size) {
        l->limit = HL_LINUX_OUTPUT_LIMIT;
        return -EIO;
    }
    int err = hl_linux_append(&l->answer, from, size);
    if (err < 0)
        return err;
    if (l->process->talk == HL_LINUX_READ_TO_END)
        l->process->talk = HL_LINUX_LISTENS;
    if (o->flags & O_DIRECT_)
        l->answered = true;
    return (int64_t)size;
}

static unsigned talk_ready(const struct hl_linux *l,
                           const struct hl_linux_open *o)
{
    (void)o;
    return HL_POLL_OUT |
           (l->process->talk == HL_LINUX_LISTENS ? 0 : HL_POLL_IN);
}

static int64_t read_nothing(struct hl_linux *l, struct hl_linux_open *o,
                            uint64_t at, uint64_t addr, uint64_t size)
{
    (void)l, (void)o, (void)at, (void)addr, (void)size;
    return 0;
}

static int64_t write_away(struct hl_linux *l, struct hl_linux_open *o,
                          uint64_t at, uint64_t addr, uint64_t size)
{
    (void)l, (void)o, (void)at, (void)addr;
    return (int64_t)size;
}

static int64_t read_zeros(struct hl_linux *l, struct hl_linux_open *o,
                          uint64_t at, uint64_t addr, uint64_t size)
{
    void *to = hl_window_write(&l->window, addr, size);

    (void)o, (void)at;
    if (to == NULL)
        return -EFAULT;
    memset(to, 0, size);
    return (int64_t)size;
}

/* Chance is dear, and nobody can end a call in the middle of it. */
static int64_t read_chance(struct hl_linux *l, struct hl_linux_open *o,
                           uint64_t at, uint64_t addr, uint64_t size)
{
    if (size > HL_LINUX_MOST_RANDOM)
        size = HL_LINUX_MOST_RANDOM;
    void *to = hl_window_write(&l->window, addr, size);

    (void)o, (void)at;
    if (to == NULL)
        return -EFAULT;
    int err = hl_random(to, size);
    return err < 0 ? err : (int64_t)size;
}

const struct hl_linux_kind_ops hl_linux_talk = {
    .read = read_request,
    .write = write_answer,
    .ready = talk_ready,
    .mode = DEVICE,
};
const struct hl_linux_kind_ops hl_linux_null = {
    .read = read_nothing,
    .write = write_away,
    .mode = DEVICE,
    .cannot_watch = true,
};
const struct hl_linux_kind_ops hl_linux_zeros = {
    .read = read_zeros,
    .write = write_away,
    .mode = DEVICE,
    .cannot_watch = true,
};
const struct hl_linux_kind_ops hl_linux_chance = {
    .read = read_chance,
    .write = write_away,
    .mode = DEVICE,
};
