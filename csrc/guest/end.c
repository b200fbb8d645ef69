/* How a call, or the guest, ends before its time. */
#include "internal.h"

#include <stdarg.h>

/* How the running call failed. */
static int32_t error;
static struct hl_view error_text;

static HL_EACH_CALL bool running;

static void write_error(int32_t code, struct hl_view words)
{
    struct hl_writer writer = hl_write_begin(HL_MESSAGE_ERROR, HL_NONE);
    hl_write(&writer, hl_i32(code));
    hl_write_text(&writer, words);
    hl_write_end(&writer);
}

static __attribute__((noreturn)) void leave_for_good(struct hl_view words)
{
    hl_output_hold(false); /* what is there need not survive the lines */
    hl_streams_flush();    /* what was said before it is what explains it */
    write_error(HL_ERROR_GUEST, words);
    for (;;)
        hl_leave(HL_LEAVE_ABORT);
}

void hl_write_failure(void) { write_error(error, error_text); }

bool hl_call_running(void) { return running; }

bool hl_run_call(void (*function)(void))
{
    running = true;
    bool failed = hl_run(function) != 0;
    running = false;
    return !failed;
}

void hl_fail_text(int32_t code, struct hl_view words)
{
    if (!running)
        leave_for_good(words);
    error = code;
    error_text = words;
    hl_unwind();
}

void hl_fail(int32_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct hl_view words = hl_format_text(format, args);
    va_end(args);
    hl_fail_text(code, words);
}

void hl_abort(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    struct hl_view words = hl_format_text(format, args);
    va_end(args);
    leave_for_good(words);
}

/* What -fstack-protector calls.  Nothing of the frame can be trusted. */
__attribute__((noreturn)) void __stack_chk_fail(void);
void __stack_chk_fail(void) { hl_abort("the stack was overrun"); }
