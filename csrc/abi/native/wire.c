#include "abi/native/wire.h"

#include <string.h>

/* All headers are 8-aligned: a guest can read values where they lie. */
#define UNIT 8

/* Wraps around to 0 for sizes within UNIT of SIZE_MAX: whoever has a size from
 * elsewhere compares it with the room before it is padded, and again after. */
static size_t padded(size_t size)
{
    return (size + UNIT - 1) & ~(size_t)(UNIT - 1);
}

/* Without room for the header, `at` is the end: then everything that is put
 * finds no room either, and hl_wire_end reports it, for callers that check
 * nothing in between. */
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

    /* The padding is zeroed, too: it would show the guest what the buffer held
     * before, such as another call's arguments (B2). */
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

/* The header comes last, when size and count are known; by memcpy, as
 * everything here, since the buffer is bytes of any alignment to C. */
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

/* After an error the reader is at its end: a caller that goes on reading gets
 * further errors, and never bytes that were not checked. */
static int refuse(struct hl_wire_reader *r, const char *wrong)
{
    r->wrong = wrong;
    r->left = 0;
    r->end = r->at;
    return -EPROTO;
}

/* Checks and uses its own copy of the header: the guest's may change between
 * the two.  What is checked here is what the rest relies on: `end` is inside
 * of the buffer and a whole number of units away; there are as many values as
 * the bytes have room for, 16 each, so that a count alone cannot make the host
 * work or allocate; kind and result are members of their enums, which they are
 * cast to. */
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

/* Whether a number of this type can have these bits: one value has one form.
 * A number outside of its type, cut to size, would be a number that the guest
 * never sent.  64-bit numbers can have any bits; lengths, which end up here as
 * well, are compared with what is there. */
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
    size_t bytes = (size_t)(r->end - r->at);
    struct hl_value head;

    /* hl_wire_open knows that all values have room, not that they use no more
     * of it: long payloads may have used up what later headers need. */
    if (r->left == 0)
        return refuse(r, "too few values");
    if (bytes < sizeof head)
        return refuse(r, "a value that ends outside of its message");
    memcpy(&head, r->at, sizeof head);
    bytes -= sizeof head;
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
    /* Unpadded first: see padded(). */
    if (head.bits > bytes || padded(head.bits) > bytes)
        return refuse(r, "a value that ends outside of its message");
    r->at += padded(head.bits);
    return 0;
}

/* Bytes left over are refused: they would be a message that the guest reads in
 * one way, and the host in another. */
int hl_wire_close(struct hl_wire_reader *r)
{
    if (r->left || r->at != r->end)
        return refuse(r, "more in the message than was asked for");
    return 0;
}
