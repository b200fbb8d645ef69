/* printf and its like. */
#include "format.h"
#include "internal.h"

#include <stdio.h>
#include <string.h>

struct to_stream {
    struct hl_sink sink;
    FILE *stream;
};

static void put_stream(struct hl_sink *sink, const char *data, size_t size)
{
    hl_stream_write(((struct to_stream *)sink)->stream, data, size);
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
    hl_stream_write(stream, data, total);
    return count;
}

int fputs(const char *restrict text, FILE *stream)
{
    hl_stream_write(stream, text, strlen(text));
    return 0;
}

int fputc(int byte, FILE *stream)
{
    char c = (char)byte;
    hl_stream_write(stream, &c, 1);
    return (unsigned char)byte;
}

int putc(int byte, FILE *stream) { return fputc(byte, stream); }

int putchar(int byte) { return fputc(byte, stdout); }

int puts(const char *text)
{
    fputs(text, stdout);
    return putchar('\n');
}
