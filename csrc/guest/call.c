/* The guest's side of a call: find the function, check the arguments, run it,
 * answer. */
#include "internal.h"

#include <string.h>

extern struct hl_export __start_hl_exports[] __attribute__((weak));
extern struct hl_export __stop_hl_exports[] __attribute__((weak));

extern void (*const __preinit_array_start[])(void) __attribute__((weak));
extern void (*const __preinit_array_end[])(void) __attribute__((weak));
extern void (*const __init_array_start[])(void) __attribute__((weak));
extern void (*const __init_array_end[])(void) __attribute__((weak));

__attribute__((weak)) void hl_init(void) {}

/* The running one. */
static HL_EACH_CALL const struct hl_message *call;

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

/* ---- Calls ---- */

static void check_args(const struct hl_value *value)
{
    const struct hl_export *function = hl_running.function;
    unsigned given = call->count - 1;

    if (given != function->count)
        hl_fail(HL_ERROR_ARGUMENTS, "%.*s: takes %u argument%s, not %u",
                HL_RUNNING_NAME, function->count,
                function->count == 1 ? "" : "s", given);
    for (unsigned i = 0; i < given; i++) {
        value = hl_read_next(value);
        if (value->type != function->args[i])
            hl_fail(HL_ERROR_ARGUMENTS, "%.*s: argument %u is %s, not %s",
                    HL_RUNNING_NAME, i, hl_type_name(function->args[i]),
                    hl_type_name(value->type));
        hl_running.args[i] = value;
    }
}

/* What can fail of a call: all of it under hl_run_call. */
static void serve(void)
{
    const struct hl_value *first =
        (const struct hl_value *)(const void *)(call + 1);

    if (call->magic != HL_MESSAGE_MAGIC || call->kind != HL_MESSAGE_CALL ||
        call->count == 0 || first->type != HL_STR)
        hl_abort("the host did not send a call");
    struct hl_view name = hl_read(first).view;
    hl_running.function = find(name);
    if (!hl_running.function)
        hl_fail(HL_ERROR_NO_FUNCTION, "no function \"%.*s\"",
                (int)(name.size < 256 ? name.size : 256), name.data);
    check_args(first);
    hl_running.function->function();
    if (!hl_running.returned) {
        if (hl_running.function->result != HL_NONE)
            hl_fail(HL_ERROR_GUEST, "%.*s: returned nothing, not %s",
                    HL_RUNNING_NAME,
                    hl_type_name(hl_running.function->result));
        hl_running.result = (struct hl_any){.type = HL_NONE};
    }
}

static void answer(const struct hl_message *message)
{
    call = message;
    hl_running.function = NULL;
    hl_running.returned = false;
    hl_output_hold(false);
    bool returned = hl_run_call(serve);
    hl_running.function = NULL;
    hl_streams_flush(); /* R2: the result's bytes survive it */
    if (!returned) {
        hl_write_failure();
        return;
    }
    struct hl_writer writer = hl_write_begin(HL_MESSAGE_RESULT, HL_NONE);
    hl_write(&writer, hl_running.result);
    hl_write_end(&writer);
}

static void run_constructors(void)
{
    for (void (*const *f)(void) = __preinit_array_start;
         f < __preinit_array_end; f++)
        (*f)();
    for (void (*const *f)(void) = __init_array_start; f < __init_array_end;
         f++)
        (*f)();
}

void hl_main(const struct hl_guest_info *info)
{
    if (info->magic != HL_INFO_MAGIC || info->version != HL_ABI_VERSION ||
        info->output_size < HL_TEXT_SIZE)
        __builtin_trap(); /* the host cannot be told */

    hl_choose_ifuncs();
    hl_message_init(info);
    hl_heap_init((void *)(uintptr_t)info->heap, info->heap_size);
    run_constructors();
    hl_init();
    hl_streams_flush();
    announce();
    for (;;)
        answer(hl_leave(HL_LEAVE_READY));
}
