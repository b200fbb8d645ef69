/* Lines for the host's log. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Header, level, and HL_TEXT_SIZE bytes of text. */
#define LOG_SIZE                                                              \
    (sizeof(struct hl_message) + 2 * sizeof(struct hl_value) + HL_TEXT_SIZE)

void hl_log_text(int32_t level, struct hl_view text)
{
    static char covered[LOG_SIZE];
    const struct hl_guest_info *info = hl_guest_info();
    char *output = (char *)(uintptr_t)info->output;
    bool held = hl_output_held();
    size_t size = info->output_size < LOG_SIZE ? info->output_size : LOG_SIZE;

    if (held)
        memcpy(covered, output, size);
    struct hl_writer writer = hl_write_begin(HL_MESSAGE_LOG, HL_NONE);
    hl_write(&writer, hl_i32(level));
    hl_write_text(&writer, hl_cut(text, HL_TEXT_SIZE));
    hl_write_end(&writer);
    hl_leave(HL_LEAVE_LOG);
    if (held)
        memcpy(output, covered, size);
}

static char text[HL_TEXT_SIZE];

struct hl_view hl_format_text(const char *format, va_list args)
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
    struct hl_view line = hl_format_text(format, args);
    va_end(args);
    hl_log_text(level, line);
}
