/* stdout and stderr: a line at a time to the host's log.  stdin is at its end.
 */
#include "internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A longer line is logged in parts. */
#define LINE 512

/* The bits of glibc's FILE, which its feof_unlocked and ferror_unlocked look
 * at without a call; it begins with them, and so does this. */
#define AT_END 0x10
#define FAILED 0x20

struct hl_stream {
    int flags;
    int32_t level; /* 0: it can be read, and not written */
    size_t size;
    char line[LINE];
};

static FILE streams[] = {
    {.level = HL_LOG_INFO},
    {.level = HL_LOG_WARNING},
    {.level = 0},
};

FILE *const stdout = &streams[0];
FILE *const stderr = &streams[1];
__attribute__((weak)) FILE *const stdin = &streams[2];

static void send(FILE *stream, size_t size)
{
    hl_log_text(stream->level, hl_view(stream->line, size));
    stream->size = 0;
}

/* A guest may bring its own of any of these. */
#pragma weak clearerr
#pragma weak feof
#pragma weak ferror

int feof(FILE *stream) { return (stream->flags & AT_END) != 0; }

int ferror(FILE *stream) { return (stream->flags & FAILED) != 0; }

void clearerr(FILE *stream) { stream->flags = 0; }

static void refuse(FILE *stream)
{
    stream->flags |= FAILED;
    errno = EBADF;
}

void hl_stream_read(FILE *stream)
{
    if (stream->level == 0)
        stream->flags |= AT_END;
    else
        refuse(stream);
}

bool hl_stream_write(FILE *stream, const char *data, size_t size)
{
    if (stream->level == 0) {
        refuse(stream);
        return false;
    }
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
    return true;
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
