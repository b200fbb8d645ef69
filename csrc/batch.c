#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "abi/native/call.h"
#include "abi/native/utf8.h"
#include "os/wait.h"

/* The arguments of one call, in the batch's own memory. */
struct arguments {
    const char *values;
    size_t size;
    uint32_t count;
};

struct hl_batch {
    struct hl_sandbox *sandbox;
    struct hl_call *call;
    struct hl_batch_config config;
    bool off;    /* the guest may differ from the snapshot */
    bool inside; /* a call has begun, and has not ended */

    struct hl_wire_writer writer;
    size_t added, done; /* calls */
    struct arguments calls[HL_BATCH_CALLS];
    char *input, *input_at, *input_end;

    size_t read, taken; /* results */
    struct hl_batch_result results[HL_BATCH_CALLS];
    char *output, *output_at;
};

/* Room for HL_BATCH_BYTES and one message more: so what fits a message always
 * fits here, while there is less than that (M3).  Memory that is not touched
 * costs nothing. */
struct hl_batch *hl_batch_new(struct hl_sandbox *sandbox,
                              const struct hl_batch_config *config)
{
    struct hl_abi *abi = hl_sandbox_abi(sandbox);
    struct hl_call *call = abi->ops->messages(abi);
    struct hl_batch *b = malloc(sizeof *b);
    char *input = malloc(HL_BATCH_BYTES + call->input_size);
    char *output = malloc(HL_BATCH_BYTES + call->output_size);

    if (b == NULL || input == NULL || output == NULL) {
        free(b);
        free(input);
        free(output);
        return NULL;
    }
    b->sandbox = sandbox;
    b->call = call;
    b->config = *config;
    b->off = true; /* who knows what was called before */
    b->inside = false;
    b->added = b->done = b->read = b->taken = 0;
    b->input = b->input_at = input;
    b->input_end = input + HL_BATCH_BYTES + call->input_size;
    b->output = b->output_at = output;
    return b;
}

void hl_batch_free(struct hl_batch *b)
{
    if (b == NULL)
        return;
    free(b->input);
    free(b->output);
    free(b);
}

/* The room is what the call's own message will leave to its arguments: what
 * does not fit is refused now, in the words of a single call. */
struct hl_wire_writer *hl_batch_write(struct hl_batch *b)
{
    size_t room = b->call->input_size - HL_REPLY_ROOM;

    if (b->done == b->added) {
        b->added = b->done = 0;
        b->input_at = b->input;
    }
    room = room > b->config.name_size ? room - b->config.name_size : 0;
    hl_wire_begin(&b->writer, b->input_at, room);
    return &b->writer;
}

bool hl_batch_add(struct hl_batch *b)
{
    const char *values = b->writer.start + sizeof(struct hl_message);
    size_t size = 0;

    if (b->writer.count > 0)
        size = (size_t)(b->writer.at - values);
    b->calls[b->added++] = (struct arguments){values, size, b->writer.count};
    b->input_at = b->writer.at;
    return b->added == HL_BATCH_CALLS ||
           (size_t)(b->input_at - b->input) >= HL_BATCH_BYTES;
}

int hl_batch_put_back(struct hl_batch *b)
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

static int begin_next(struct hl_batch *b)
{
    const struct arguments *a = &b->calls[b->done];
    struct hl_call *call = b->call;

    int err = hl_batch_put_back(b);
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
static bool keep(struct hl_batch *b, struct hl_wire_value *value)
{
    if (value->type != HL_STR && value->type != HL_BYTES)
        return true;
    memcpy(b->output_at, value->data, value->bits);
    value->data = b->output_at;
    b->output_at += value->bits;
    return value->type == HL_BYTES || hl_is_utf8(value->data, value->bits);
}

/* M2: read what the guest left, if it is a result; false: it is the caller's.
 * A message is no longer than the buffer, and nor are its payloads. */
static bool read_result(struct hl_batch *b)
{
    struct hl_batch_result *r = &b->results[b->read];
    struct hl_wire_value value;
    char *from = b->output_at;
    size_t n = 0;
    int more;

    if (hl_call_open_result(b->call, b->config.result) < 0)
        return false;
    r->kind = b->call->kind;
    if (r->kind == HL_MESSAGE_ERROR && !b->config.goes_on)
        return false;
    while ((more = hl_call_next(b->call, &value)) > 0) {
        if (n == HL_ARRAY_SIZE(r->values) || !keep(b, &value))
            break;
        r->values[n++] = value;
    }
    if (more != 0) {
        b->output_at = from;
        return false;
    }
    b->read++;
    return true;
}

static void end_call(struct hl_batch *b)
{
    b->inside = false;
    b->done++;
}

void hl_batch_pass_over(struct hl_batch *b) { end_call(b); }

/* There is room for the result of another call, whatever it is. */
static bool has_room(const struct hl_batch *b)
{
    return b->read < HL_BATCH_CALLS &&
           (size_t)(b->output_at - b->output) < HL_BATCH_BYTES;
}

int hl_batch_run(struct hl_batch *b, struct hl_exit *exit, enum hl_left *left)
{
    uint64_t until = hl_now() + HL_BATCH_SLICE_NS;

    b->read = b->taken = 0;
    b->output_at = b->output;
    while (b->done < b->added) {
        *left = HL_LEFT_KICKED;
        if (!has_room(b) || hl_now() >= until)
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
    return b->taken < b->read ? &b->results[b->taken++] : NULL;
}
