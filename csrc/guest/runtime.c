/* The guest's side of a call: find the function, check the arguments, run it,
 * answer.
 *
 *  R1. Nothing but this file, host.c and message.c writes to the output
 *      buffer, apart from a function that has hl_return_buffer's leave.
 *  R2. A result of type str or bytes lies in the output buffer from hl_return
 *      on.  Until the call ends, a host call is refused, and a log line puts
 *      back what it covered.
 *  R3. An error leaves by hl_unwind and is written behind it: what was in the
 *      output buffer does not matter then. */
#include "runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

extern struct hl_export __start_hl_exports[] __attribute__((weak));
extern struct hl_export __stop_hl_exports[] __attribute__((weak));

extern void (*const __preinit_array_start[])(void) __attribute__((weak));
extern void (*const __preinit_array_end[])(void) __attribute__((weak));
extern void (*const __init_array_start[])(void) __attribute__((weak));
extern void (*const __init_array_end[])(void) __attribute__((weak));

__attribute__((weak)) void hl_init(void) {}

static const struct hl_guest_info *info;

static struct {
    const struct hl_message *message;
    const struct hl_export *function; /* NULL: no call is running */
    const struct hl_value *args[HL_MAX_ARGS];
    bool running, returned;
    struct hl_any result; /* of str and bytes the view in the output buffer */
    int32_t error;
    struct hl_view error_text;
} call;

const struct hl_guest_info *hl_guest_info(void) { return info; }

bool hl_call_running(void) { return call.running; }

/* ---- Signatures ---- */

/* Step over `word` at *at, if it is there. */
static bool skip(const char **at, const char *word)
{
    size_t size = strlen(word);
    if (strncmp(*at, word, size) != 0)
        return false;
    *at += size;
    return true;
}

/* A type's name, which ends where letters and digits do. */
static bool read_type(const char **at, uint8_t *type)
{
    for (unsigned i = 0; i < HL_TYPES; i++) {
        const char *next = *at;
        if (skip(&next, hl_type_name(i)) && strchr(",) ", *next)) {
            *at = next;
            *type = (uint8_t)i;
            return true;
        }
    }
    return false;
}

static bool read_args(struct hl_export *export, const char **at)
{
    if (skip(at, ")"))
        return true;
    do {
        uint8_t *type = &export->args[export->count];
        if (export->count == HL_MAX_ARGS || !read_type(at, type) ||
            *type == HL_NONE)
            return false;
        export->count++;
    } while (skip(at, ", "));
    return skip(at, ")");
}

static bool read_signature(struct hl_export *export)
{
    const char *at = strchr(export->signature, '(');
    if (!at || at == export->signature || at - export->signature > UINT8_MAX)
        return false;
    export->name_size = (uint8_t)(at - export->signature);
    at++;
    return read_args(export, &at) && skip(&at, " -> ") &&
           read_type(&at, &export->result) && *at == '\0';
}

static struct hl_export *find(struct hl_view name)
{
    struct hl_export *end = __stop_hl_exports;

    for (struct hl_export *export = __start_hl_exports; export < end; export++)
        if (export->name_size == name.size &&
            memcmp(export->signature, name.data, name.size) == 0)
            return export;
    return NULL;
}

/* Read all signatures and write them into the first message. */
static void announce(void)
{
    struct hl_export *end = __stop_hl_exports;

    for (struct hl_export *export = __start_hl_exports; export < end; export++)
        if (!read_signature(export))
            hl_abort("HL_EXPORT: cannot read \"%s\"", export->signature);

    struct hl_writer writer = hl_write_begin(HL_MESSAGE_FUNCTIONS, HL_NONE);
    for (struct hl_export *export = __start_hl_exports; export < end;
         export++) {
        if (find(hl_view(export->signature, export->name_size)) != export)
            hl_abort("HL_EXPORT: two functions \"%.*s\"", export->name_size,
                     export->signature);
        if (!hl_write(&writer, hl_str(hl_cstr(export->signature))))
            hl_abort("HL_EXPORT: too many for the output buffer");
    }
    hl_write_end(&writer);
}

/* ---- Arguments and results ---- */

/* The name of the running function, for messages. */
#define NAME (int)call.function->name_size, call.function->signature

struct hl_any hl_arg(unsigned index, enum hl_type type)
{
    if (!call.function)
        hl_abort("hl_arg: no call is running");
    if (index >= call.function->count)
        hl_fail(HL_ERROR_GUEST, "%.*s: has no argument %u", NAME, index);
    if (call.function->args[index] != type)
        hl_fail(HL_ERROR_GUEST, "%.*s: argument %u is %s, read as %s", NAME,
                index, hl_type_name(call.function->args[index]),
                hl_type_name(type));
    return hl_read(call.args[index]);
}

static bool has_bytes(enum hl_type type)
{
    return type == HL_STR || type == HL_BYTES;
}

bool hl_result_pending(void)
{
    return call.returned && has_bytes(call.result.type);
}

static void check_result(enum hl_type type)
{
    if (!call.function)
        hl_abort("hl_return: no call is running");
    if (call.function->result != type)
        hl_fail(HL_ERROR_GUEST, "%.*s: returned %s, not %s", NAME,
                hl_type_name(type), hl_type_name(call.function->result));
}

size_t hl_return_room(void)
{
    size_t header = sizeof(struct hl_message) + sizeof(struct hl_value);
    size_t size = info->output_size & ~(uint64_t)7;
    return size < header ? 0 : size - header;
}

void *hl_return_buffer(size_t size)
{
    if (!call.function)
        hl_abort("hl_return_buffer: no call is running");

    enum hl_type type = (enum hl_type)call.function->result;
    if (!has_bytes(type))
        check_result(HL_BYTES);
    if (size > hl_return_room())
        hl_fail(HL_ERROR_TOO_LARGE,
                "%.*s: a result of %zu bytes, but the output buffer takes %zu",
                NAME, size, hl_return_room());
    char *data = (char *)(uintptr_t)info->output + sizeof(struct hl_message) +
                 sizeof(struct hl_value);
    call.result = (struct hl_any){.type = type, .view = hl_view(data, size)};
    call.returned = true;
    return data;
}

void hl_return_shrink(size_t size)
{
    if (!hl_result_pending() || size > call.result.view.size)
        hl_abort("hl_return_shrink: larger than the buffer it shrinks");
    call.result.view.size = size;
}

void hl_return(struct hl_any value)
{
    check_result(value.type);
    if (has_bytes(value.type)) {
        void *data = hl_return_buffer(value.view.size);
        if (value.view.size != 0)
            memmove(data, value.view.data, value.view.size);
        return;
    }
    call.result = value;
    call.returned = true;
}

void hl_return_format(const char *format, ...)
{
    va_list args;

    check_result(HL_STR);
    /* One byte more than is sent, for the terminator. */
    size_t room = hl_return_room();
    char *data = (char *)hl_return_buffer(room);
    va_start(args, format);
    int size = vsnprintf(data, room, format, args);
    va_end(args);
    if (size < 0 || (size_t)size >= room)
        hl_fail(HL_ERROR_TOO_LARGE,
                "%.*s: a result of %d bytes, but the output buffer takes %zu",
                NAME, size, room);
    hl_return_shrink((size_t)size);
}

/* ---- Errors ---- */

static char text[HL_TEXT_SIZE];

static struct hl_view format_text(const char *format, va_list args)
{
    int size = vsnprintf(text, sizeof(text), format, args);
    if (size < 0)
        size = 0;
    if ((size_t)size < sizeof(text))
        return hl_view(text, (size_t)size);
    /* The terminator took the place of the byte that says whether a character
     * ends there: take it for the middle of one. */
    text[sizeof(text) - 1] = (char)0x80;
    return hl_cut(hl_view(text, sizeof(text)), sizeof(text) - 1);
}

void hl_log(int32_t level, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct hl_view line = format_text(format, args);
    va_end(args);
    hl_log_text(level, line);
}

static void write_error(int32_t code, struct hl_view words)
{
    struct hl_writer writer = hl_write_begin(HL_MESSAGE_ERROR, HL_NONE);
    hl_write(&writer, hl_i32(code));
    hl_write_text(&writer, words);
    hl_write_end(&writer);
}

static __attribute__((noreturn)) void leave_for_good(struct hl_view words)
{
    call.returned = false;
    hl_print_flush(); /* what was said before it is what explains it */
    write_error(HL_ERROR_GUEST, words);
    for (;;)
        hl_leave(HL_LEAVE_ABORT);
}

void hl_fail_text(int32_t code, struct hl_view words)
{
    if (!call.running)
        leave_for_good(words);
    call.error = code;
    call.error_text = words;
    hl_unwind();
}

void hl_fail(int32_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct hl_view words = format_text(format, args);
    va_end(args);
    hl_fail_text(code, words);
}

void hl_abort(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct hl_view words = format_text(format, args);
    va_end(args);
    leave_for_good(words);
}

/* ---- Calls ---- */

static void check_args(const struct hl_value *value)
{
    const struct hl_export *function = call.function;
    unsigned given = call.message->count - 1;

    if (given != function->count)
        hl_fail(HL_ERROR_ARGUMENTS, "%.*s: takes %u argument%s, not %u", NAME,
                function->count, function->count == 1 ? "" : "s", given);
    for (unsigned i = 0; i < given; i++) {
        value = hl_read_next(value);
        if (value->type != function->args[i])
            hl_fail(HL_ERROR_ARGUMENTS, "%.*s: argument %u is %s, not %s",
                    NAME, i, hl_type_name(function->args[i]),
                    hl_type_name(value->type));
        call.args[i] = value;
    }
}

/* What can fail of a call: all of it under hl_run. */
static void serve(void)
{
    const struct hl_value *first =
        (const struct hl_value *)(const void *)(call.message + 1);

    if (call.message->magic != HL_MESSAGE_MAGIC ||
        call.message->kind != HL_MESSAGE_CALL || call.message->count == 0 ||
        first->type != HL_STR)
        hl_abort("the host did not send a call");
    struct hl_view name = hl_read(first).view;
    call.function = find(name);
    if (!call.function)
        hl_fail(HL_ERROR_NO_FUNCTION, "no function \"%.*s\"",
                (int)(name.size < 256 ? name.size : 256), name.data);
    check_args(first);
    call.function->function();
    if (!call.returned) {
        if (call.function->result != HL_NONE)
            hl_fail(HL_ERROR_GUEST, "%.*s: returned nothing, not %s", NAME,
                    hl_type_name(call.function->result));
        call.result = (struct hl_any){.type = HL_NONE};
    }
}

static void answer(const struct hl_message *message)
{
    call.message = message;
    call.function = NULL;
    call.returned = false;
    call.running = true;
    bool failed = hl_run(serve) != 0;
    call.running = false;
    call.function = NULL;
    hl_print_flush(); /* R2: the result's bytes survive it */
    if (failed) {
        write_error(call.error, call.error_text);
        return;
    }
    struct hl_writer writer = hl_write_begin(HL_MESSAGE_RESULT, HL_NONE);
    hl_write(&writer, call.result);
    hl_write_end(&writer);
}

void hl_main(const struct hl_guest_info *given)
{
    info = given;
    if (info->magic != HL_INFO_MAGIC || info->version != HL_ABI_VERSION ||
        info->output_size < HL_TEXT_SIZE)
        __builtin_trap(); /* the host cannot be told */

    hl_heap_init((void *)(uintptr_t)info->heap, info->heap_size);
    for (void (*const *f)(void) = __preinit_array_start;
         f < __preinit_array_end; f++)
        (*f)();
    for (void (*const *f)(void) = __init_array_start; f < __init_array_end;
         f++)
        (*f)();
    hl_init();
    hl_print_flush();
    announce();
    for (;;)
        answer(hl_leave(HL_LEAVE_READY));
}
