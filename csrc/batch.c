#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "abi/native/call.h"
#include "abi/native/utf8.h"
#include "inject.h"
#include "os/memory.h"
#include "os/wait.h"

/* The arguments of one call, in the batch's own memory. */
struct arguments {
    const char *values;
    size_t size;
    uint32_t count;
};

struct hl_batch_room {
    struct hl_wire_writer writer;
    size_t added, done; /* calls */
    char *input, *input_at;
    size_t read, taken; /* results */
    char *output, *output_at, *output_end;

    struct arguments calls[HL_BATCH_CALLS];
    struct hl_batch_result results[HL_BATCH_CALLS];
    char bytes[];
};

/* Room for HL_BATCH_BYTES and one message more, twice: so what fits a message
 * always fits here, while there is less than that (M3).  Memory that is not
 * touched costs nothing. */
static struct hl_batch_room *make_room(const struct hl_call *call)
{
    size_t input = HL_BATCH_BYTES + call->input_size;
    size_t output = HL_BATCH_BYTES + call->output_size;
    struct hl_batch_room *r = NULL;

    if (!HL_INJECT(HL_INJECT_ROOM))
        r = malloc(sizeof *r + input + output);
    if (r == NULL)
        return NULL;
    r->input = r->bytes;
    r->output = r->input + input;
    r->output_end = r->output + output;
    return r;
}

int hl_batch_begin(struct hl_batch *b, struct hl_sandbox *sandbox,
                   const struct hl_batch_config *config)
{
    struct hl_abi *abi = hl_sandbox_abi(sandbox);

    b->sandbox = sandbox;
    b->call = abi->ops->messages(abi);
    b->config = *config;
    b->off = true; /* who knows what was called before */
    b->inside = false;
    if (b->room == NULL)
        b->room = make_room(b->call);
    if (b->room == NULL)
        return -ENOMEM;
    b->room->added = b->room->done = b->room->read = b->room->taken = 0;
    b->room->input_at = b->room->input;
    b->room->output_at = b->room->output;
    return 0;
}

static int put_back(struct hl_batch *b)
{
    struct hl_applied ignored;

    if (hl_turn_is_forked(hl_sandbox_turn(b->sandbox)))
        return -ECHILD;
    if (b->config.snapshot == NULL || !b->off)
        return 0;
    b->inside = false;
    int err = hl_sandbox_restore(b->sandbox, b->config.snapshot,
                                 b->config.state, &ignored);
    b->off = err < 0;
    return err;
}

/* M5: let go of whole pages behind the first bytes. */
static bool drop_rest(char *from, char *end)
{
    const size_t page = hl_page_size();
    char *rest = from + HL_BATCH_KEPT / 2;

    rest += hl_align_up((uintptr_t)rest, page) - (uintptr_t)rest;
    return hl_memory_drop(rest, (size_t)(end - rest) & ~(page - 1));
}

int hl_batch_end(struct hl_batch *b)
{
    int err = put_back(b);
    struct hl_batch_room *r = b->room;

    b->sandbox = NULL;
    if (r != NULL && !(drop_rest(r->input, r->output) &&
                       drop_rest(r->output, r->output_end)))
        hl_batch_free(b);
    return err;
}

void hl_batch_free(struct hl_batch *b)
{
    free(b->room);
    b->room = NULL;
}

/* The room is what the call's own message will leave to its arguments: what
 * does not fit is refused now, in the words of a single call. */
struct hl_wire_writer *hl_batch_write(struct hl_batch *b)
{
    struct hl_batch_room *r = b->room;
    size_t room = b->call->input_size - HL_REPLY_ROOM;

    if (r->done == r->added) {
        r->added = r->done = 0;
        r->input_at = r->input;
    }
    room = room > b->config.name_size ? room - b->config.name_size : 0;
    hl_wire_begin(&r->writer, r->input_at, room);
    return &r->writer;
}

bool hl_batch_add(struct hl_batch *b)
{
    struct hl_batch_room *r = b->room;
    const char *values = r->writer.start + sizeof(struct hl_message);
    size_t size = 0;

    if (r->writer.count > 0)
        size = (size_t)(r->writer.at - values);
    r->calls[r->added++] = (struct arguments){values, size, r->writer.count};
    r->input_at = r->writer.at;
    return r->added == HL_BATCH_CALLS ||
           (size_t)(r->input_at - r->input) >= HL_BATCH_BYTES;
}

static int begin_next(struct hl_batch *b)
{
    const struct arguments *a = &b->room->calls[b->room->done];
    struct hl_call *call = b->call;

    int err = put_back(b);
    if (err < 0)
        return err;
    if (hl_sandbox_is_poisoned(b->sandbox))
        return -EBUSY;
    hl_sandbox_set_deadline(b->sandbox,
                            b->config.limit ? hl_now() + b->config.limit : 0);
    err = hl_call_begin(call, b->config.name, b->config.name_size);
    if (err == 0)
        err = hl_wire_put_raw(&call->writer, a->values, a->size, a->count);
    if (err == 0)
        err = hl_call_end(call);
    if (err == 0)
        err = hl_sandbox_begin(b->sandbox);
    if (err < 0)
        return err;
    b->off = true;
    b->inside = true;
    return 0;
}

/* Copy a payload to where it can be looked at; false: no text. */
static bool keep(struct hl_batch_room *r, struct hl_wire_value *value)
{
    if (value->type != HL_STR && value->type != HL_BYTES)
        return true;
    memcpy(r->output_at, value->data, value->bits);
    value->data = r->output_at;
    r->output_at += value->bits;
    return value->type == HL_BYTES || hl_is_utf8(value->data, value->bits);
}

/* M2: read what the guest left, if it is a result; false: it is the caller's.
 * A message is no longer than the buffer, and nor are its payloads. */
static bool read_result(struct hl_batch *b)
{
    struct hl_batch_room *r = b->room;
    struct hl_batch_result *result = &r->results[r->read];
    struct hl_wire_value value;
    char *from = r->output_at;
    size_t n = 0;
    int more;

    if (hl_call_open_result(b->call, b->config.result) < 0)
        return false;
    result->kind = b->call->kind;
    if (result->kind == HL_MESSAGE_ERROR && !b->config.goes_on)
        return false;
    while ((more = hl_call_next(b->call, &value)) > 0) {
        if (n == HL_ARRAY_SIZE(result->values) || !keep(r, &value))
            break;
        result->values[n++] = value;
    }
    if (more != 0) {
        r->output_at = from;
        return false;
    }
    r->read++;
    return true;
}

static void end_call(struct hl_batch *b)
{
    b->inside = false;
    b->room->done++;
}

void hl_batch_pass_over(struct hl_batch *b) { end_call(b); }

/* There is room for the result of another call, whatever it is. */
static bool has_room(const struct hl_batch_room *r)
{
    return r->read < HL_BATCH_CALLS &&
           (size_t)(r->output_at - r->output) < HL_BATCH_BYTES;
}

int hl_batch_run(struct hl_batch *b, struct hl_exit *exit, enum hl_left *left)
{
    struct hl_batch_room *r = b->room;
    uint64_t until = hl_now() + HL_BATCH_SLICE_NS;

    r->read = r->taken = 0;
    r->output_at = r->output;
    while (r->done < r->added) {
        *left = HL_LEFT_KICKED;
        if (!has_room(r) || hl_now() >= until)
            return 0;
        int err = b->inside ? 0 : begin_next(b);
        if (err == 0)
            err = hl_sandbox_run(b->sandbox, exit, left);
        if (err < 0)
            return err;
        if (*left == HL_LEFT_KICKED)
            return 0;
        if (*left != HL_LEFT_READY || !read_result(b))
            return 1;
        hl_sandbox_end(b->sandbox);
        end_call(b);
    }
    *left = HL_LEFT_READY;
    return 0;
}

const struct hl_batch_result *hl_batch_take(struct hl_batch *b)
{
    struct hl_batch_room *r = b->room;

    return r->taken < r->read ? &r->results[r->taken++] : NULL;
}
