#include "abi/native/call.h"

#include <string.h>

#include "os/memory.h"

/* Values that a message may have at the most: a call its name and 64
 * arguments. */
#define MOST_VALUES 65
#define MOST_FUNCTIONS 4096

/* From this size on, leftovers of the previous message are dropped instead of
 * zeroed, which is cheaper and frees the memory. */
#define DROP_FROM ((size_t)1 << 20)

void hl_call_init(struct hl_call *call, void *input, size_t input_size,
                  const void *output, size_t output_size)
{
    *call = (struct hl_call){
        .input = input,
        .input_size = input_size,
        .output = output,
        .output_size = output_size,
    };
    hl_wire_begin(&call->writer, input, 0);
}

/* What the writer wrote counts, whether or not it came to an end. */
static void begin_message(struct hl_call *call, size_t from, size_t room)
{
    size_t written = (size_t)(call->writer.at - call->input);

    if (written > call->used)
        call->used = written;
    hl_wire_begin(&call->writer, call->input + from, room);
    call->message = call->sent = from;
}

void hl_call_nothing(struct hl_call *call)
{
    call->size = 0;
    begin_message(call, 0, 0);
}

int hl_call_begin(struct hl_call *call, const void *name, size_t size)
{
    call->size = 0;
    begin_message(call, 0, call->input_size - HL_REPLY_ROOM);
    return hl_wire_put_raw(&call->writer, name, size, 1);
}

/* Write the header of the message under way. */
static int end_message(struct hl_call *call, enum hl_message_kind kind)
{
    ssize_t size = hl_wire_end(&call->writer, kind, HL_NONE);
    if (size < 0)
        return (int)size;
    call->sent = call->message + (size_t)size;
    return 0;
}

int hl_call_end(struct hl_call *call)
{
    int err = end_message(call, HL_MESSAGE_CALL);
    if (err == 0)
        call->size = call->sent;
    return err;
}

void hl_call_reply(struct hl_call *call)
{
    begin_message(call, call->size, call->input_size - call->size);
}

int hl_call_replied(struct hl_call *call, enum hl_message_kind kind)
{
    return end_message(call, kind);
}

/* Zero input[from, to); whole pages of much of it are dropped, if they may. */
static void scrub(char *input, size_t from, size_t to, bool pinned)
{
    size_t page = hl_page_size();
    size_t first = hl_align_up(from, page);

    if (!pinned && to > first && to - first >= DROP_FROM) {
        size_t last = hl_align_up(to, page);
        if (hl_memory_drop(input + first, last - first))
            to = first;
    }
    memset(input + from, 0, to - from);
}

size_t hl_call_send(struct hl_call *call)
{
    if (call->sent < call->used)
        scrub(call->input, call->sent, call->used, call->pinned);
    call->used = call->sent;
    return call->message;
}

static int refuse(struct hl_call *call, const char *wrong)
{
    call->wrong = wrong;
    return -EPROTO;
}

static int open_any(struct hl_call *call)
{
    call->count = 0;
    if (hl_wire_open(&call->reader, call->output, call->output_size) < 0)
        return refuse(call, call->reader.wrong);
    call->kind = (enum hl_message_kind)call->reader.kind;
    return 0;
}

int hl_call_open(struct hl_call *call, enum hl_message_kind kind)
{
    int err = open_any(call);
    if (err < 0)
        return err;
    if (call->kind != kind)
        return refuse(call, "a message of another kind");
    if (kind == HL_MESSAGE_CALL && call->reader.left == 0)
        return refuse(call, "a call of nothing");
    uint32_t most =
        kind == HL_MESSAGE_FUNCTIONS ? MOST_FUNCTIONS : MOST_VALUES;
    if (call->reader.left > most)
        return refuse(call, "too many values");
    return 0;
}

int hl_call_open_result(struct hl_call *call, enum hl_type type)
{
    int err = open_any(call);
    if (err < 0)
        return err;
    if (call->kind != HL_MESSAGE_RESULT && call->kind != HL_MESSAGE_ERROR)
        return refuse(call, "neither a result nor an error");
    call->result = type;
    return 0;
}

/* How many values a message has that is whole. */
static bool is_enough(const struct hl_call *call)
{
    switch (call->kind) {
    case HL_MESSAGE_ERROR:
    case HL_MESSAGE_LOG:
        return call->count == 2;
    case HL_MESSAGE_RESULT:
        return call->count == 1;
    default:
        return true;
    }
}

/* Whether its next value may be of this type. */
static bool is_due(const struct hl_call *call, enum hl_type type)
{
    switch (call->kind) {
    case HL_MESSAGE_ERROR:
    case HL_MESSAGE_LOG:
        return call->count < 2 && type == (call->count ? HL_STR : HL_I32);
    case HL_MESSAGE_RESULT:
        return call->count == 0 && type == call->result;
    case HL_MESSAGE_CALL:
        return call->count > 0 || type == HL_STR;
    default:
        return type == HL_STR;
    }
}

int hl_call_next(struct hl_call *call, struct hl_wire_value *value)
{
    struct hl_wire_reader *r = &call->reader;

    if (r->left == 0 && !is_enough(call))
        return refuse(call, "too few values");
    if (r->left == 0)
        return hl_wire_close(r) < 0 ? refuse(call, r->wrong) : 0;
    if (hl_wire_next(r, value) < 0)
        return refuse(call, r->wrong);
    if (!is_due(call, value->type))
        return refuse(call, call->kind == HL_MESSAGE_RESULT
                                ? "a result of another type"
                                : "values of other types");
    call->count++;
    return 1;
}
