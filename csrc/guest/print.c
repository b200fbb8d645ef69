/* printf and its like. */
#include "format.h"
#include "internal.h"

#include <stdio.h>
#include <string.h>

struct to_stream {
    struct hl_sink sink;
    FILE *stream;
    bool refused;
};

static void put_stream(struct hl_sink *sink, const char *data, size_t size)
{
    struct to_stream *to = (struct to_stream *)sink;
    to->refused |= !hl_stream_write(to->stream, data, size);
}

int vfprintf(FILE *stream, const char *restrict format, va_list args)
{
    struct to_stream to = {.sink = {.put = put_stream}, .stream = stream};
    int written = hl_format(&to.sink, format, args);
    return to.refused ? EOF : written;
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
    return hl_stream_write(stream, data, total) ? count : 0;
}

int fputs(const char *restrict text, FILE *stream)
{
    return hl_stream_write(stream, text, strlen(text)) ? 0 : EOF;
}

int fputc(int byte, FILE *stream)
{
    char c = (char)byte;
    return hl_stream_write(stream, &c, 1) ? (unsigned char)byte : EOF;
}

int putc(int byte, FILE *stream) { return fputc(byte, stream); }

int putchar(int byte) { return fputc(byte, stdout); }

int puts(const char *text)
{
    fputs(text, stdout);
    return putchar('\n');
}
