/* Calls to the host. */
#include "internal.h"

static struct hl_view error_text;

struct hl_view hl_host_error(void) { return error_text; }

static int32_t refuse(int32_t code, const char *words)
{
    error_text = hl_cstr(words);
    return code;
}

/* The reply's value, of type `wanted`, or an error's code. */
static int32_t read_reply(const struct hl_message *reply, struct hl_any *value,
                          enum hl_type wanted)
{
    const struct hl_value *first =
        (const struct hl_value *)(const void *)(reply + 1);

    if (reply->magic != HL_MESSAGE_MAGIC)
        hl_abort("the host did not send a reply");
    if (reply->kind == HL_MESSAGE_ERROR && reply->count == 2) {
        error_text = hl_read(hl_read_next(first)).view;
        int32_t code = hl_read(first).i32;
        return code != 0 ? code : HL_ERROR_HOST;
    }
    if (reply->kind != HL_MESSAGE_RESULT)
        hl_abort("the host did not send a reply");
    *value = reply->count ? hl_read(first) : (struct hl_any){.type = HL_NONE};
    if (value->type != wanted)
        return refuse(HL_ERROR_HOST, "the host's answer has another type");
    return 0;
}

int32_t hl_try_host_call_array(struct hl_any *value, enum hl_type result,
                               const char *name, const struct hl_any *args,
                               size_t count)
{
    if (hl_output_held())
        hl_fail(HL_ERROR_GUEST,
                "%s: the host cannot be called once a str or "
                "bytes result was set",
                name);
    if (!hl_call_running())
        hl_abort("%s: the host can be called only in a call", name);

    struct hl_writer writer = hl_write_begin(HL_MESSAGE_CALL, result);
    bool fits = hl_write(&writer, hl_str(hl_cstr(name)));
    for (size_t i = 0; i < count; i++)
        fits = fits && hl_write(&writer, args[i]);
    if (!fits)
        return refuse(HL_ERROR_TOO_LARGE,
                      "a host call that is larger than the output buffer");
    hl_write_end(&writer);
    return read_reply(hl_leave(HL_LEAVE_HOST_CALL), value, result);
}

struct hl_any hl_host_call_array(enum hl_type result, const char *name,
                                 const struct hl_any *args, size_t count)
{
    struct hl_any value;
    int32_t code = hl_try_host_call_array(&value, result, name, args, count);

    if (code != 0)
        hl_fail_text(code, error_text);
    return value;
}
