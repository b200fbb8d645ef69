/* What a function that was called is given, and what it gives back. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

HL_EACH_CALL struct hl_running hl_running;

struct hl_any hl_arg(unsigned index, enum hl_type type)
{
    if (!hl_running.function)
        hl_abort("hl_arg: no call is running");
    if (index >= hl_running.function->count)
        hl_fail(HL_ERROR_GUEST, "%.*s: has no argument %u", HL_RUNNING_NAME,
                index);
    if (hl_running.function->args[index] != type)
        hl_fail(HL_ERROR_GUEST, "%.*s: argument %u is %s, read as %s",
                HL_RUNNING_NAME, index,
                hl_type_name(hl_running.function->args[index]),
                hl_type_name(type));
    return hl_read(hl_running.args[index]);
}

static void check_result(enum hl_type type)
{
    if (!hl_running.function)
        hl_abort("hl_return: no call is running");
    if (hl_running.function->result != type)
        hl_fail(HL_ERROR_GUEST, "%.*s: returned %s, not %s", HL_RUNNING_NAME,
                hl_type_name(type), hl_type_name(hl_running.function->result));
}

size_t hl_return_room(void)
{
    size_t header = sizeof(struct hl_message) + sizeof(struct hl_value);
    size_t size = hl_guest_info()->output_size & ~(uint64_t)7;
    return size < header ? 0 : size - header;
}

void *hl_return_buffer(size_t size)
{
    if (!hl_running.function)
        hl_abort("hl_return_buffer: no call is running");

    enum hl_type type = (enum hl_type)hl_running.function->result;
    if (!hl_type_has_bytes(type))
        check_result(HL_BYTES);
    if (size > hl_return_room())
        hl_fail(HL_ERROR_TOO_LARGE,
                "%.*s: a result of %zu bytes, but the output buffer takes %zu",
                HL_RUNNING_NAME, size, hl_return_room());
    char *data = (char *)(uintptr_t)hl_guest_info()->output +
                 sizeof(struct hl_message) + sizeof(struct hl_value);
    hl_running.result =
        (struct hl_any){.type = type, .view = hl_view(data, size)};
    hl_running.returned = true;
    hl_output_hold(true);
    return data;
}

void hl_return_shrink(size_t size)
{
    if (!hl_output_held() || size > hl_running.result.view.size)
        hl_abort("hl_return_shrink: larger than the buffer it shrinks");
    hl_running.result.view.size = size;
}

void hl_return(struct hl_any value)
{
    check_result(value.type);
    if (hl_type_has_bytes(value.type)) {
        void *data = hl_return_buffer(value.view.size);
        if (value.view.size != 0)
            memmove(data, value.view.data, value.view.size);
        return;
    }
    hl_running.result = value;
    hl_running.returned = true;
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
                HL_RUNNING_NAME, size, room);
    hl_return_shrink((size_t)size);
}
