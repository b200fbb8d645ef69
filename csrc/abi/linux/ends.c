/* The ends of queues, and counters, as what is behind a descriptor. */
#include "abi/linux/queues.h"

#define FIFO UINT32_C(0010600)
#define SOCKET UINT32_C(0140777)
#define ANONYMOUS UINT32_C(0000600)

#define MOST_COUNT (UINT64_MAX - 1)

static unsigned flags_of(const struct hl_linux_open *o)
{
    return o->flags & HL_O_NONBLOCK ? HL_MSG_DONTWAIT : 0;
}

static int64_t transfer(struct hl_linux *l, struct hl_linux_open *o,
                        const struct hl_linux_piece *pieces, size_t count,
                        bool writes)
{
    uint64_t out = o->kind == HL_LINUX_SOCKET ? o->offset : o->node;
    bool cut;

    if (writes)
        return hl_queue_send(l, out, pieces, count, flags_of(o));
    return hl_queue_receive(l, o->node, pieces, count, flags_of(o), &cut);
}

static unsigned in_is_ready(const struct hl_linux *l,
                            const struct hl_linux_open *o)
{
    return (hl_queue_used(l, o->node) ? HL_POLL_IN : 0) |
           (hl_queue(l, o->node)->writes ? 0 : HL_POLL_HUP);
}

/* Room for what is written at once. */
static bool has_room(const struct hl_linux *l, uint64_t queue)
{
    return hl_queue_room(l, queue) >= HL_QUEUE_AT_ONCE;
}

static unsigned out_is_ready(const struct hl_linux *l,
                             const struct hl_linux_open *o)
{
    return (has_room(l, o->node) ? HL_POLL_OUT : 0) |
           (hl_queue(l, o->node)->reads ? 0 : HL_POLL_ERR);
}

static bool is_closed(const struct hl_linux *l, uint64_t queue)
{
    const struct hl_linux_queue *q = hl_queue(l, queue);

    return !q->reads || !q->writes;
}

static unsigned socket_is_ready(const struct hl_linux *l,
                                const struct hl_linux_open *o)
{
    bool in = is_closed(l, o->node), out = is_closed(l, o->offset);
    unsigned ready = 0;

    if (hl_queue_used(l, o->node) || in)
        ready |= HL_POLL_IN;
    if (has_room(l, o->offset) || out)
        ready |= HL_POLL_OUT;
    return ready | (in ? HL_POLL_RDHUP : 0) | (in && out ? HL_POLL_HUP : 0);
}

static uint64_t changes_of_in(const struct hl_linux *l,
                              const struct hl_linux_open *o)
{
    return hl_queue(l, o->node)->puts;
}

static uint64_t changes_of_out(const struct hl_linux *l,
                               const struct hl_linux_open *o)
{
    return hl_queue(l, o->node)->takes;
}

static uint64_t changes_of_socket(const struct hl_linux *l,
                                  const struct hl_linux_open *o)
{
    return (uint64_t)hl_queue(l, o->node)->puts << 32 |
           hl_queue(l, o->offset)->takes;
}

static void close_in(struct hl_linux *l, struct hl_linux_open *o)
{
    hl_queue_end_reading(l, o->node);
    hl_queue_drop(l, o->node);
}

static void close_out(struct hl_linux *l, struct hl_linux_open *o)
{
    hl_queue_end_writing(l, o->node);
    hl_queue_drop(l, o->node);
}

static void close_socket(struct hl_linux *l, struct hl_linux_open *o)
{
    close_in(l, o);
    hl_queue_end_writing(l, o->offset);
    hl_queue_drop(l, o->offset);
}

/* Bit 0 of the node: it counts down by one; above it, its changes. */
static int64_t read_counter(struct hl_linux *l, struct hl_linux_open *o,
                            uint64_t at, uint64_t addr, uint64_t size)
{
    const uint64_t value = o->node & 1 && o->offset ? 1 : o->offset;

    (void)at;
    if (size < sizeof value)
        return -EINVAL;
    if (value == 0)
        return o->flags & HL_O_NONBLOCK ? -EAGAIN : HL_LINUX_WAITS;
    if (hl_linux_put(l, addr, &value, sizeof value) < 0)
        return -EFAULT;
    o->offset -= value;
    o->node += 2;
    return sizeof value;
}

static int64_t write_counter(struct hl_linux *l, struct hl_linux_open *o,
                             uint64_t at, uint64_t addr, uint64_t size)
{
    uint64_t value;

    (void)at;
    if (size < sizeof value)
        return -EINVAL;
    if (hl_linux_get(l, addr, &value, sizeof value) < 0)
        return -EFAULT;
    if (value == UINT64_MAX)
        return -EINVAL;
    if (value > MOST_COUNT - o->offset)
        return o->flags & HL_O_NONBLOCK ? -EAGAIN : HL_LINUX_WAITS;
    o->offset += value;
    o->node += 2;
    return sizeof value;
}

static unsigned counter_is_ready(const struct hl_linux *l,
                                 const struct hl_linux_open *o)
{
    (void)l;
    return (o->offset ? HL_POLL_IN : 0) |
           (o->offset < MOST_COUNT ? HL_POLL_OUT : 0);
}

static uint64_t changes_of_counter(const struct hl_linux *l,
                                   const struct hl_linux_open *o)
{
    (void)l;
    return o->node;
}

const struct hl_linux_kind_ops hl_linux_pipe_in = {
    .transfer = transfer,
    .ready = in_is_ready,
    .changes = changes_of_in,
    .closed = close_in,
    .mode = FIFO,
};
const struct hl_linux_kind_ops hl_linux_pipe_out = {
    .transfer = transfer,
    .ready = out_is_ready,
    .changes = changes_of_out,
    .closed = close_out,
    .mode = FIFO,
};
const struct hl_linux_kind_ops hl_linux_socket_end = {
    .transfer = transfer,
    .ready = socket_is_ready,
    .changes = changes_of_socket,
    .closed = close_socket,
    .mode = SOCKET,
};
const struct hl_linux_kind_ops hl_linux_counter = {
    .read = read_counter,
    .write = write_counter,
    .ready = counter_is_ready,
    .changes = changes_of_counter,
    .mode = ANONYMOUS,
};
