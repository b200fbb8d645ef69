/* Output goes to the host's log, a line at a time.  There are no files. */
#ifndef HL_GUEST_INCLUDE_STDIO_H
#define HL_GUEST_INCLUDE_STDIO_H

#include <stdarg.h>
#include <stddef.h>

#define EOF (-1)

typedef struct hl_stream FILE;

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

int puts(const char *text);
int putchar(int byte);
int fputs(const char *restrict text, FILE *stream);
int fputc(int byte, FILE *stream);
int putc(int byte, FILE *stream);
size_t fwrite(const void *restrict data, size_t size, size_t count,
              FILE *stream);
int fflush(FILE *stream);

#endif
