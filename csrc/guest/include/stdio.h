/* Output goes to the host's log, a line at a time.  There are no files: what
 * opens one fails, and stdin is at its end.  feof and ferror tell what came of
 * reads and writes until then, as in C. */
#ifndef HL_GUEST_INCLUDE_STDIO_H
#define HL_GUEST_INCLUDE_STDIO_H

#include <stdarg.h>
#include <stddef.h>

#define EOF (-1)
#define BUFSIZ 512
#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#define _IOFBF 0
#define _IOLBF 1
#define _IONBF 2

typedef struct hl_stream FILE;

extern FILE *const stdin;
extern FILE *const stdout;
extern FILE *const stderr;

#define HL_STDIO_(text, args)                                                 \
    __attribute__((__format__(__printf__, text, args)))

HL_STDIO_(1, 2) int printf(const char *restrict format, ...);
HL_STDIO_(2, 3) int fprintf(FILE *stream, const char *restrict format, ...);
HL_STDIO_(2, 3) int sprintf(char *to, const char *restrict format, ...);
HL_STDIO_(3, 4)
int snprintf(char *to, size_t size, const char *restrict format, ...);
HL_STDIO_(1, 0) int vprintf(const char *restrict format, va_list args);
HL_STDIO_(2, 0)
int vfprintf(FILE *stream, const char *restrict format, va_list args);
HL_STDIO_(2, 0)
int vsprintf(char *to, const char *restrict format, va_list args);
HL_STDIO_(3, 0)
int vsnprintf(char *to, size_t size, const char *restrict format,
              va_list args);

/* All of C99 but wide characters; a %Lf is as exact as a double. */
__attribute__((__format__(__scanf__, 2, 3))) int
sscanf(const char *restrict text, const char *restrict format, ...);
__attribute__((__format__(__scanf__, 2, 0))) int
vsscanf(const char *restrict text, const char *restrict format, va_list args);

int puts(const char *text);
int putchar(int byte);
int fputs(const char *restrict text, FILE *stream);
int fputc(int byte, FILE *stream);
int putc(int byte, FILE *stream);
size_t fwrite(const void *restrict data, size_t size, size_t count,
              FILE *stream);
int fflush(FILE *stream);

FILE *fopen(const char *restrict name, const char *restrict mode);
FILE *freopen(const char *restrict name, const char *restrict mode,
              FILE *stream);
FILE *fdopen(int fd, const char *mode);
FILE *tmpfile(void);
int fclose(FILE *stream);
size_t fread(void *restrict to, size_t size, size_t count, FILE *stream);
int fgetc(FILE *stream);
int getc(FILE *stream);
int getchar(void);
int ungetc(int byte, FILE *stream);
char *fgets(char *restrict to, int size, FILE *stream);
int feof(FILE *stream);
int ferror(FILE *stream);
void clearerr(FILE *stream);
int fseek(FILE *stream, long offset, int from);
long ftell(FILE *stream);
void rewind(FILE *stream);
int setvbuf(FILE *stream, char *buffer, int mode, size_t size);
int fileno(FILE *stream);
int remove(const char *name);
int rename(const char *from, const char *to);

#endif
