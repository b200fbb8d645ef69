#include "abi/native/wire.h"

#include <string.h>

#define UNIT 8

static size_t padded(size_t size)
{
    return (size + UNIT - 1) & ~(size_t)(UNIT - 1);
}

void hl_wire_begin(struct hl_wire_writer *w, void *buffer, size_t size)
{
    size_t head = sizeof(struct hl_message);

    w->start = buffer;
    w->end = w->start + size;
    w->at = size < head ? w->end : w->start + head;
    w->count = 0;
}

static size_t room(const struct hl_wire_writer *w)
{
    return (size_t)(w->end - w->at);
}

int hl_wire_put(struct hl_wire_writer *w, enum hl_type type, uint64_t bits)
{
    struct hl_value value = {.type = type, .bits = bits};

    return hl_wire_put_raw(w, &value, sizeof value, 1);
}

void *hl_wire_put_room(struct hl_wire_writer *w, enum hl_type type,
                       size_t size)
{
    struct hl_value head = {.type = type, .bits = size};
    uint64_t zero = 0;

    if (room(w) < sizeof head || size > room(w) - sizeof head ||
        padded(size) > room(w) - sizeof head)
        return NULL;
    char *data = w->at + sizeof head;
    memcpy(w->at, &head, sizeof head);
    memcpy(data + size, &zero, padded(size) - size);
    w->at = data + padded(size);
    w->count++;
    return data;
}

int hl_wire_put_raw(struct hl_wire_writer *w, const void *values, size_t size,
                    uint32_t count)
{
    if (size > room(w))
        return -ENOSPC;
    memcpy(w->at, values, size);
    w->at += size;
    w->count += count;
    return 0;
}

ssize_t hl_wire_end(struct hl_wire_writer *w, enum hl_message_kind kind,
                    enum hl_type result)
{
    struct hl_message head = {
        .magic = HL_MESSAGE_MAGIC,
        .kind = kind,
        .size = (uint64_t)(w->at - w->start),
        .count = w->count,
        .result = result,
    };

    if (head.size < sizeof head)
        return -ENOSPC;
    memcpy(w->start, &head, sizeof head);
    return (ssize_t)head.size;
}

static int refuse(struct hl_wire_reader *r, const char *wrong)
{
    r->wrong = wrong;
    r->left = 0;
    r->end = r->at;
    return -EPROTO;
}

int hl_wire_open(struct hl_wire_reader *r, const void *buffer, size_t size)
{
    struct hl_message head;

    *r = (struct hl_wire_reader){.at = buffer, .end = buffer};
    if (size < sizeof head)
        return refuse(r, "no room for a message");
    memcpy(&head, buffer, sizeof head);
    if (head.magic != HL_MESSAGE_MAGIC)
        return refuse(r, "no message");
    if (head.kind < HL_MESSAGE_CALL || head.kind > HL_MESSAGE_FUNCTIONS)
        return refuse(r, "a message of no known kind");
    if (head.size < sizeof head || head.size > size || head.size % UNIT)
        return refuse(r, "a message whose size cannot be");
    if (head.count > (head.size - sizeof head) / sizeof(struct hl_value))
        return refuse(r, "more values than the message has room for");
    if (head.result >= HL_TYPES)
        return refuse(r, "a result of no known type");
    r->at += sizeof head;
    r->end += head.size;
    r->kind = head.kind;
    r->left = head.count;
    r->result = head.result;
    return 0;
}

/* Whether a number of this type can have these bits. */
static bool fits(uint32_t type, uint64_t bits)
{
    switch (type) {
    case HL_NONE:
        return bits == 0;
    case HL_I32:
        return bits == (uint64_t)(int64_t)(int32_t)(uint32_t)bits;
    case HL_U32:
    case HL_F32:
        return bits <= UINT32_MAX;
    case HL_BOOL:
        return bits <= 1;
    default:
        return true;
    }
}

int hl_wire_next(struct hl_wire_reader *r, struct hl_wire_value *value)
{
    size_t left = (size_t)(r->end - r->at);
    struct hl_value head;

    if (r->left == 0)
        return refuse(r, "too few values");
    if (left < sizeof head)
        return refuse(r, "a value that ends outside of its message");
    memcpy(&head, r->at, sizeof head);
    left -= sizeof head;
    if (head.type >= HL_TYPES)
        return refuse(r, "a value of no known type");
    if (!fits(head.type, head.bits))
        return refuse(r, "a number that its type does not have");
    *value = (struct hl_wire_value){(enum hl_type)head.type, head.bits,
                                    r->at + sizeof head};
    r->at += sizeof head;
    r->left--;
    if (head.type != HL_STR && head.type != HL_BYTES)
        return 0;
    if (head.bits > left || padded(head.bits) > left)
        return refuse(r, "a value that ends outside of its message");
    r->at += padded(head.bits);
    return 0;
}

int hl_wire_close(struct hl_wire_reader *r)
{
    if (r->left || r->at != r->end)
        return refuse(r, "more in the message than was asked for");
    return 0;
}
