/* File functions, although there are no files: opening one fails as if the
 * name did not exist, and standard input is at its end.  So libraries that can
 * also read files link, and callers of that part get an error.
 *
 * What glibc's getc_unlocked and putc_unlocked call, __uflow and __overflow,
 * is not here: whoever calls them has looked for a buffer in glibc's FILE. */
#include "internal.h"

#include <errno.h>
#include <stdio.h>

/* Libraries compiled with large files call these. */
FILE *fopen64(const char *restrict name, const char *restrict mode);
FILE *freopen64(const char *restrict name, const char *restrict mode,
                FILE *stream);
int fseeko64(FILE *stream, long offset, int from);
long ftello64(FILE *stream);
int open64(const char *name, int flags, ...);
size_t __fread_chk(void *restrict to, size_t room, size_t size, size_t count,
                   FILE *stream);
char *__fgets_chk(char *restrict to, size_t room, int size, FILE *stream);
/* unistd.h and fcntl.h, which the SDK does not have. */
int open(const char *name, int flags, ...);
int close(int fd);
long read(int fd, void *to, size_t size);
long write(int fd, const void *from, size_t size);
long lseek(int fd, long offset, int from);
int isatty(int fd);

/* A guest may bring its own of any of these. */
#pragma weak __fgets_chk
#pragma weak __fread_chk
#pragma weak close
#pragma weak fclose
#pragma weak fdopen
#pragma weak fgetc
#pragma weak fgets
#pragma weak fileno
#pragma weak fopen
#pragma weak fopen64
#pragma weak fread
#pragma weak freopen
#pragma weak freopen64
#pragma weak fseek
#pragma weak fseeko64
#pragma weak ftell
#pragma weak ftello64
#pragma weak getc
#pragma weak getchar
#pragma weak isatty
#pragma weak lseek
#pragma weak open
#pragma weak open64
#pragma weak read
#pragma weak remove
#pragma weak rename
#pragma weak rewind
#pragma weak setvbuf
#pragma weak tmpfile
#pragma weak ungetc
#pragma weak write

static int fail(int number)
{
    errno = number;
    return -1;
}

static void *no_file(void)
{
    errno = ENOENT;
    return NULL;
}

FILE *fopen(const char *restrict name, const char *restrict mode)
{
    (void)name;
    (void)mode;
    return no_file();
}

FILE *fopen64(const char *restrict name, const char *restrict mode)
{
    return fopen(name, mode);
}

FILE *freopen(const char *restrict name, const char *restrict mode,
              FILE *stream)
{
    (void)fclose(stream);
    return fopen(name, mode);
}

FILE *freopen64(const char *restrict name, const char *restrict mode,
                FILE *stream)
{
    return freopen(name, mode, stream);
}

FILE *fdopen(int fd, const char *mode)
{
    (void)fd;
    (void)mode;
    errno = EBADF;
    return NULL;
}

FILE *tmpfile(void) { return no_file(); }

int fclose(FILE *stream) { return fflush(stream); }

/* ---- What can be read: nothing ---- */

size_t fread(void *restrict to, size_t size, size_t count, FILE *stream)
{
    (void)to;
    if (size != 0 && count != 0)
        hl_stream_read(stream);
    return 0;
}

size_t __fread_chk(void *restrict to, size_t room, size_t size, size_t count,
                   FILE *stream)
{
    (void)room;
    return fread(to, size, count, stream);
}

int fgetc(FILE *stream)
{
    hl_stream_read(stream);
    return EOF;
}

int getc(FILE *stream) { return fgetc(stream); }

int getchar(void) { return fgetc(stdin); }

int ungetc(int byte, FILE *stream)
{
    (void)byte;
    (void)stream;
    return EOF;
}

char *fgets(char *restrict to, int size, FILE *stream)
{
    (void)to;
    (void)size;
    hl_stream_read(stream);
    return NULL;
}

char *__fgets_chk(char *restrict to, size_t room, int size, FILE *stream)
{
    (void)room;
    return fgets(to, size, stream);
}

/* ---- Positions, buffers, names ---- */

int fseek(FILE *stream, long offset, int from)
{
    (void)stream;
    (void)offset;
    (void)from;
    return fail(ESPIPE);
}

int fseeko64(FILE *stream, long offset, int from)
{
    return fseek(stream, offset, from);
}

long ftell(FILE *stream)
{
    (void)stream;
    return fail(ESPIPE);
}

long ftello64(FILE *stream) { return ftell(stream); }

void rewind(FILE *stream) { clearerr(stream); }

int setvbuf(FILE *stream, char *buffer, int mode, size_t size)
{
    (void)stream;
    (void)buffer;
    (void)mode;
    (void)size;
    return 0; /* a line at a time, whatever is asked for */
}

int fileno(FILE *stream)
{
    (void)stream;
    return fail(EBADF);
}

int remove(const char *name)
{
    (void)name;
    return fail(ENOENT);
}

int rename(const char *from, const char *to)
{
    (void)from;
    (void)to;
    return fail(ENOENT);
}

/* ---- Descriptors ---- */

int open(const char *name, int flags, ...)
{
    (void)name;
    (void)flags;
    return fail(ENOENT);
}

int open64(const char *name, int flags, ...) { return open(name, flags); }

int close(int fd)
{
    (void)fd;
    return fail(EBADF);
}

long read(int fd, void *to, size_t size)
{
    (void)fd;
    (void)to;
    (void)size;
    return fail(EBADF);
}

long write(int fd, const void *from, size_t size)
{
    (void)fd;
    (void)from;
    (void)size;
    return fail(EBADF);
}

long lseek(int fd, long offset, int from)
{
    (void)fd;
    (void)offset;
    (void)from;
    return fail(EBADF);
}

int isatty(int fd)
{
    (void)fd;
    errno = EBADF;
    return 0;
}
