/* stdout and stderr: a line at a time to the host's log. */
#include "format.h"
#include "runtime.h"

#include <stdio.h>
#include <string.h>

/* A longer line is logged in parts. */
#define LINE 512

struct hl_stream {
    int32_t level;
    size_t size;
    char line[LINE];
};

static FILE streams[] = {
    {.level = HL_LOG_INFO},
    {.level = HL_LOG_WARNING},
    {.level = HL_LOG_WARNING}, /* nothing is read, and nothing should write */
};

FILE *const stdout = &streams[0];
FILE *const stderr = &streams[1];
__attribute__((weak)) FILE *const stdin = &streams[2];

static void send(FILE *stream, size_t size)
{
    hl_log_text(stream->level, hl_view(stream->line, size));
    stream->size = 0;
}

static void write_bytes(FILE *stream, const char *data, size_t size)
{
    while (size > 0) {
        size_t room = LINE - stream->size;
        size_t part = size < room ? size : room;
        const char *end = memchr(data, '\n', part);
        if (end)
            part = (size_t)(end - data);
        memcpy(stream->line + stream->size, data, part);
        stream->size += part;
        data += part;
        size -= part;
        if (end) {
            send(stream, stream->size);
            data++;
            size--;
        } else if (stream->size == LINE && size > 0) {
            /* Half a character waits for its other half. */
            struct hl_view text = hl_view(stream->line, LINE);
            size_t cut = hl_cut(text, LINE - 1).size;
            cut = cut != 0 ? cut : LINE;
            char rest[LINE];
            memcpy(rest, stream->line + cut, LINE - cut);
            send(stream, cut);
            memcpy(stream->line, rest, LINE - cut);
            stream->size = LINE - cut;
        }
    }
}

int fflush(FILE *stream)
{
    if (!stream)
        hl_print_flush();
    else if (stream->size != 0)
        send(stream, stream->size);
    return 0;
}

void hl_print_flush(void)
{
    fflush(stdout);
    fflush(stderr);
}

struct to_stream {
    struct hl_sink sink;
    FILE *stream;
};

static void put_stream(struct hl_sink *sink, const char *data, size_t size)
{
    write_bytes(((struct to_stream *)sink)->stream, data, size);
}

int vfprintf(FILE *stream, const char *restrict format, va_list args)
{
    struct to_stream to = {.sink = {.put = put_stream}, .stream = stream};
    return hl_format(&to.sink, format, args);
}

int vprintf(const char *restrict format, va_list args)
{
    return vfprintf(stdout, format, args);
}

int fprintf(FILE *stream, const char *restrict format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vfprintf(stream, format, args);
    va_end(args);
    return written;
}

int printf(const char *restrict format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vprintf(format, args);
    va_end(args);
    return written;
}

size_t fwrite(const void *restrict data, size_t size, size_t count,
              FILE *stream)
{
    size_t total;
    if (__builtin_mul_overflow(size, count, &total))
        return 0;
    write_bytes(stream, data, total);
    return count;
}

int fputs(const char *restrict text, FILE *stream)
{
    write_bytes(stream, text, strlen(text));
    return 0;
}

int fputc(int byte, FILE *stream)
{
    char c = (char)byte;
    write_bytes(stream, &c, 1);
    return (unsigned char)byte;
}

int putc(int byte, FILE *stream) { return fputc(byte, stream); }

int putchar(int byte) { return fputc(byte, stdout); }

int puts(const char *text)
{
    fputs(text, stdout);
    return putchar('\n');
}
