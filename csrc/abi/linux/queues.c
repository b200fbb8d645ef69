#include "abi/linux/queues.h"

#include <string.h>

#define SIGPIPE_ 13

/* Before each message is its length. */
typedef uint32_t length_;

const struct hl_linux_queue *hl_queue(const struct hl_linux *l, uint64_t queue)
{
    return &l->process->queues[queue - 1];
}

static struct hl_linux_queue *change(struct hl_linux *l, uint64_t queue)
{
    struct hl_linux_queue *q = &l->process->queues[queue - 1];

    hl_window_own(&l->window, q, sizeof *q);
    return q;
}

int hl_queue_new(struct hl_linux *l, unsigned type, uint32_t *out)
{
    uint32_t queue = 1, node;

    while (queue <= HL_LINUX_FILES && hl_queue(l, queue)->node)
        queue++;
    if (queue > HL_LINUX_FILES || hl_tree_add_nameless(&l->files, &node) < 0)
        return -ENFILE;
    *change(l, queue) = (struct hl_linux_queue){
        .node = node,
        .uses = 2,
        .reads = true,
        .writes = true,
        .type = (uint8_t)type,
    };
    *out = queue;
    return 0;
}

void hl_queue_end_reading(struct hl_linux *l, uint64_t queue)
{
    struct hl_linux_queue *q = change(l, queue);

    q->reads = false;
    q->puts++;
    q->takes++;
}

void hl_queue_end_writing(struct hl_linux *l, uint64_t queue)
{
    struct hl_linux_queue *q = change(l, queue);

    q->writes = false;
    q->puts++;
    q->takes++;
}

void hl_queue_drop(struct hl_linux *l, uint64_t queue)
{
    struct hl_linux_queue *q = change(l, queue);

    if (--q->uses > 0)
        return;
    hl_tree_close(&l->files, q->node);
    *q = (struct hl_linux_queue){0};
}

static uint64_t end_of(const struct hl_linux *l, uint64_t queue)
{
    return l->files.tree->nodes[hl_queue(l, queue)->node].size;
}

uint64_t hl_queue_used(const struct hl_linux *l, uint64_t queue)
{
    return end_of(l, queue) - hl_queue(l, queue)->start;
}

uint64_t hl_queue_room(const struct hl_linux *l, uint64_t queue)
{
    return HL_QUEUE_SIZE - hl_queue_used(l, queue);
}

static bool has_messages(const struct hl_linux *l, uint64_t queue)
{
    return hl_queue(l, queue)->type > HL_SOCK_STREAM;
}

/* Where the pieces are read, or written, until one that cannot be: how many
 * bytes that is, of `most` at most. */
static uint64_t reach(const struct hl_linux *l,
                      const struct hl_linux_piece *pieces, size_t count,
                      unsigned perm, uint64_t most)
{
    uint64_t size = 0;

    for (size_t i = 0; i < count && size < most; i++) {
        uint64_t part = pieces[i].size;
        if (part > most - size)
            part = most - size;
        if (part == 0)
            continue;
        /* As what is written is found: in one slot. */
        if (!hl_window_allows(&l->window, pieces[i].addr, part, perm) ||
            hl_window_read(&l->window, pieces[i].addr, part) == NULL)
            break;
        size += part;
    }
    return size;
}

static uint64_t total_of(const struct hl_linux_piece *pieces, size_t count)
{
    uint64_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += pieces[i].size;
    return total;
}

/* To the start of its file, where the end is too near. */
static void move_down(struct hl_linux *l, uint64_t queue, uint64_t size)
{
    struct hl_linux_queue *q = change(l, queue);
    uint64_t used = hl_queue_used(l, queue);
    char *to;

    if (end_of(l, queue) + size <= HL_QUEUE_SIZE)
        return;
    if (used > 0 &&
        hl_tree_write(&l->files, q->node, 0, (size_t)used, 0, &to) == 0)
        memmove(to, to + q->start, (size_t)used);
    (void)!hl_tree_resize(&l->files, q->node, used, 0); /* it gets smaller */
    q->start = 0;
}

static void gather(const struct hl_linux *l, char *to,
                   const struct hl_linux_piece *pieces, uint64_t size)
{
    for (size_t i = 0; size > 0; i++) {
        uint64_t part = pieces[i].size < size ? pieces[i].size : size;
        if (part == 0)
            continue;
        (void)!hl_linux_get(l, pieces[i].addr, to, (size_t)part); /* reach */
        to += part;
        size -= part;
    }
}

/* So many bytes of them, which are readable. */
static int64_t put(struct hl_linux *l, uint64_t queue,
                   const struct hl_linux_piece *pieces, uint64_t size)
{
    const length_ length = (length_)size;
    uint64_t head = has_messages(l, queue) ? sizeof length : 0;
    uint32_t node = hl_queue(l, queue)->node;
    char *to;

    move_down(l, queue, head + size);
    if (head + size == 0)
        return 0;
    int err = hl_tree_write(&l->files, node, end_of(l, queue),
                            (size_t)(head + size), 0, &to);
    if (err < 0)
        return -ENOMEM;
    change(l, queue)->puts++;
    memcpy(to, &length, (size_t)head);
    gather(l, to + head, pieces, size);
    return (int64_t)size;
}

static int64_t wait_or(unsigned flags)
{
    return flags & HL_MSG_DONTWAIT ? -EAGAIN : HL_LINUX_WAITS;
}

/* What is too much for it goes in parts, as if a signal had come: there is
 * nobody who would read the first part while the call waits with the rest. */
int64_t hl_queue_send(struct hl_linux *l, uint64_t queue,
                      const struct hl_linux_piece *pieces, size_t count,
                      unsigned flags)
{
    const struct hl_linux_queue *q = hl_queue(l, queue);
    uint64_t total = total_of(pieces, count), room = hl_queue_room(l, queue);
    bool at_once =
        has_messages(l, queue) || (q->type == 0 && total <= HL_QUEUE_AT_ONCE);
    uint64_t needs = at_once ? total : 1;

    if (has_messages(l, queue))
        needs += sizeof(length_);
    if (!q->reads || !q->writes) {
        if (!(flags & HL_MSG_NOSIGNAL))
            l->process->pending |= UINT64_C(1) << (SIGPIPE_ - 1);
        return -EPIPE;
    }
    if (needs > HL_QUEUE_SIZE)
        return -EMSGSIZE;
    if (needs > room)
        return wait_or(flags);
    uint64_t size =
        reach(l, pieces, count, HL_PERM_READ, total < room ? total : room);
    if ((at_once && size < total) || (total > 0 && size == 0))
        return -EFAULT;
    return put(l, queue, pieces, size);
}

static void scatter(const struct hl_linux *l, const char *from,
                    const struct hl_linux_piece *pieces, uint64_t size)
{
    for (size_t i = 0; size > 0; i++) {
        uint64_t part = pieces[i].size < size ? pieces[i].size : size;
        if (part == 0)
            continue;
        (void)!hl_linux_put(l, pieces[i].addr, from, (size_t)part); /* reach */
        from += part;
        size -= part;
    }
}

static void skip(struct hl_linux *l, uint64_t queue, uint64_t size)
{
    struct hl_linux_queue *q = change(l, queue);

    q->takes++;
    q->start += (uint32_t)size;
    if (q->start < end_of(l, queue))
        return;
    hl_tree_empty(&l->files, q->node);
    q->start = 0;
}

/* [at, +size) of what is there, which is not empty. */
static const char *bytes_of(const struct hl_linux *l, uint64_t queue,
                            uint64_t at, size_t size)
{
    const struct hl_linux_queue *q = hl_queue(l, queue);

    return hl_tree_read(&l->files, q->node, q->start + at, &size);
}

static int64_t receive_message(struct hl_linux *l, uint64_t queue,
                               const struct hl_linux_piece *pieces,
                               size_t count, unsigned flags, bool *cut)
{
    uint64_t total = total_of(pieces, count);
    length_ length;

    memcpy(&length, bytes_of(l, queue, 0, sizeof length), sizeof length);
    uint64_t size = total < length ? total : length;
    if (reach(l, pieces, count, HL_PERM_WRITE, size) < size)
        return -EFAULT;
    if (size > 0)
        scatter(l, bytes_of(l, queue, sizeof length, (size_t)size), pieces,
                size);
    if (!(flags & HL_MSG_PEEK))
        skip(l, queue, sizeof length + length);
    *cut = size < length;
    return (int64_t)(flags & HL_MSG_TRUNC ? length : size);
}

int64_t hl_queue_receive(struct hl_linux *l, uint64_t queue,
                         const struct hl_linux_piece *pieces, size_t count,
                         unsigned flags, bool *cut)
{
    const struct hl_linux_queue *q = hl_queue(l, queue);
    uint64_t total = total_of(pieces, count), used = hl_queue_used(l, queue);
    bool open = q->reads && q->writes;

    *cut = false;
    if (used == 0)
        return open && (total > 0 || q->type) ? wait_or(flags) : 0;
    if (has_messages(l, queue))
        return receive_message(l, queue, pieces, count, flags, cut);
    if (flags & HL_MSG_WAITALL && open && used < total &&
        total <= HL_QUEUE_SIZE)
        return wait_or(flags);
    uint64_t size =
        reach(l, pieces, count, HL_PERM_WRITE, total < used ? total : used);
    if (size == 0)
        return total > 0 ? -EFAULT : 0;
    scatter(l, bytes_of(l, queue, 0, (size_t)size), pieces, size);
    if (!(flags & HL_MSG_PEEK))
        skip(l, queue, size);
    return (int64_t)size;
}
