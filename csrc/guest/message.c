/* The call buffers: messages are built in one and read in the other. */
#include "internal.h"

#include <string.h>

#define UNIT ((size_t)8) /* of sizes in messages */

static const struct hl_guest_info *info;

/* A result waits in the output buffer: R2. */
static HL_EACH_CALL bool held;

void hl_message_init(const struct hl_guest_info *given) { info = given; }

const struct hl_guest_info *hl_guest_info(void) { return info; }

void hl_output_hold(bool given) { held = given; }

bool hl_output_held(void) { return held; }

size_t hl_padded(size_t size) { return (size + UNIT - 1) & ~(UNIT - 1); }

const char *hl_type_name(unsigned type)
{
    static const char *const names[HL_TYPES] = {
        "none",  "int32",  "int64", "uint32", "uint64",
        "float", "double", "bool",  "str",    "bytes"};
    return type < HL_TYPES ? names[type] : "?";
}

bool hl_type_has_bytes(enum hl_type type)
{
    return type == HL_STR || type == HL_BYTES;
}

struct hl_writer hl_write_begin(enum hl_message_kind kind, enum hl_type result)
{
    char *start = (char *)(uintptr_t)info->output;
    struct hl_message *message = (struct hl_message *)(void *)start;

    *message = (struct hl_message){.kind = kind, .result = result};
    return (struct hl_writer){
        .message = message,
        .at = start + sizeof(*message),
        .end = start + (info->output_size & ~(UNIT - 1)),
    };
}

size_t hl_write_room(const struct hl_writer *writer)
{
    size_t room = (size_t)(writer->end - writer->at);
    size_t value = sizeof(struct hl_value);
    return room < value ? 0 : room - value;
}

static uint64_t bits_of(const struct hl_any *value)
{
    uint32_t low;

    switch (value->type) {
    case HL_I32:
        return (uint64_t)(int64_t)value->i32;
    case HL_U32:
        return value->u32;
    case HL_F32: /* no conversion: a signalling NaN stays one */
        memcpy(&low, &value->f32, sizeof(low));
        return low;
    case HL_BOOL:
        return value->boolean;
    case HL_STR:
    case HL_BYTES:
        return value->view.size;
    case HL_NONE:
        return 0;
    default:
        return value->u64;
    }
}

bool hl_write(struct hl_writer *writer, struct hl_any value)
{
    bool has_bytes = hl_type_has_bytes(value.type);
    size_t room = (size_t)(writer->end - writer->at);
    size_t size = has_bytes ? value.view.size : 0;

    if (room < sizeof(struct hl_value) ||
        room - sizeof(struct hl_value) < size)
        return false;

    /* Before the header, which may lie where the bytes are moved from. */
    char *data = writer->at + sizeof(struct hl_value);
    if (size != 0)
        memmove(data, value.view.data, size);
    memset(data + size, 0, hl_padded(size) - size);
    *(struct hl_value *)(void *)writer->at =
        (struct hl_value){.type = value.type, .bits = bits_of(&value)};
    writer->at = data + hl_padded(size);
    writer->message->count++;
    return true;
}

struct hl_view hl_cut(struct hl_view text, size_t limit)
{
    if (text.size <= limit)
        return text;
    /* 10xxxxxx goes on with a character that began before it. */
    while (limit > 0 && ((unsigned char)text.data[limit] & 0xc0) == 0x80)
        limit--;
    return hl_view(text.data, limit);
}

void hl_write_text(struct hl_writer *writer, struct hl_view text)
{
    hl_write(writer, hl_str(hl_cut(text, hl_write_room(writer))));
}

void hl_write_end(const struct hl_writer *writer)
{
    struct hl_message *message = writer->message;

    message->magic = HL_MESSAGE_MAGIC;
    message->size = (uint64_t)(writer->at - (char *)message);
}

struct hl_any hl_read(const struct hl_value *value)
{
    struct hl_any any = {.type = (enum hl_type)value->type};

    if (hl_type_has_bytes(any.type))
        any.view = hl_view(value + 1, value->bits);
    else if (any.type == HL_BOOL)
        any.boolean = value->bits != 0;
    else /* little-endian: the low half is where i32 and f32 are */
        any.u64 = value->bits;
    return any;
}

const struct hl_value *hl_read_next(const struct hl_value *value)
{
    bool has_bytes = hl_type_has_bytes((enum hl_type)value->type);
    size_t size = has_bytes ? hl_padded(value->bits) : 0;
    return (const struct hl_value *)(const void *)((const char *)(value + 1) +
                                                   size);
}
