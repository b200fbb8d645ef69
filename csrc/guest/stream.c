/* stdout and stderr: a line at a time to the host's log. */
#include "internal.h"

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

void hl_stream_write(FILE *stream, const char *data, size_t size)
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
        hl_streams_flush();
    else if (stream->size != 0)
        send(stream, stream->size);
    return 0;
}

void hl_streams_flush(void)
{
    fflush(stdout);
    fflush(stderr);
}
