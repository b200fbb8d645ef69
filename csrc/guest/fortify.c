/* The checked functions that libraries built with _FORTIFY_SOURCE call: where
 * the object's size is known and too small, the guest ends. */
#include "internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NORETURN __attribute__((noreturn))

NORETURN void __chk_fail(void);
void *__memcpy_chk(void *to, const void *from, size_t size, size_t room);
void *__memmove_chk(void *to, const void *from, size_t size, size_t room);
void *__mempcpy_chk(void *to, const void *from, size_t size, size_t room);
void *__memset_chk(void *to, int byte, size_t size, size_t room);
char *__strcpy_chk(char *to, const char *from, size_t room);
char *__stpcpy_chk(char *to, const char *from, size_t room);
char *__strncpy_chk(char *to, const char *from, size_t size, size_t room);
char *__strcat_chk(char *to, const char *from, size_t room);
char *__strncat_chk(char *to, const char *from, size_t size, size_t room);
int __vsnprintf_chk(char *to, size_t size, int flag, size_t room,
                    const char *format, va_list args);
int __snprintf_chk(char *to, size_t size, int flag, size_t room,
                   const char *format, ...);
int __vsprintf_chk(char *to, int flag, size_t room, const char *format,
                   va_list args);
int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...);
int __vprintf_chk(int flag, const char *format, va_list args);
int __printf_chk(int flag, const char *format, ...);
int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list args);
int __fprintf_chk(FILE *stream, int flag, const char *format, ...);

void __chk_fail(void) { hl_abort("a buffer was about to be overrun"); }

static void check(size_t size, size_t room)
{
    if (size > room)
        __chk_fail();
}

void *__memcpy_chk(void *to, const void *from, size_t size, size_t room)
{
    check(size, room);
    return memcpy(to, from, size);
}

void *__memmove_chk(void *to, const void *from, size_t size, size_t room)
{
    check(size, room);
    return memmove(to, from, size);
}

void *__mempcpy_chk(void *to, const void *from, size_t size, size_t room)
{
    check(size, room);
    return mempcpy(to, from, size);
}

void *__memset_chk(void *to, int byte, size_t size, size_t room)
{
    check(size, room);
    return memset(to, byte, size);
}

char *__strcpy_chk(char *to, const char *from, size_t room)
{
    check(strlen(from) + 1, room);
    return strcpy(to, from);
}

char *__stpcpy_chk(char *to, const char *from, size_t room)
{
    check(strlen(from) + 1, room);
    return stpcpy(to, from);
}

char *__strncpy_chk(char *to, const char *from, size_t size, size_t room)
{
    check(size, room);
    return strncpy(to, from, size);
}

char *__strcat_chk(char *to, const char *from, size_t room)
{
    check(strlen(to) + strlen(from) + 1, room);
    return strcat(to, from);
}

char *__strncat_chk(char *to, const char *from, size_t size, size_t room)
{
    check(strlen(to) + strnlen(from, size) + 1, room);
    return strncat(to, from, size);
}

int __vsnprintf_chk(char *to, size_t size, int flag, size_t room,
                    const char *format, va_list args)
{
    (void)flag;
    check(size, room);
    return vsnprintf(to, size, format, args);
}

int __snprintf_chk(char *to, size_t size, int flag, size_t room,
                   const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = __vsnprintf_chk(to, size, flag, room, format, args);
    va_end(args);
    return written;
}

int __vsprintf_chk(char *to, int flag, size_t room, const char *format,
                   va_list args)
{
    (void)flag;
    int written = vsnprintf(to, room, format, args);
    check((size_t)written + 1, room);
    return written;
}

int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = __vsprintf_chk(to, flag, room, format, args);
    va_end(args);
    return written;
}

int __vprintf_chk(int flag, const char *format, va_list args)
{
    (void)flag;
    return vprintf(format, args);
}

int __printf_chk(int flag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = __vprintf_chk(flag, format, args);
    va_end(args);
    return written;
}

int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list args)
{
    (void)flag;
    return vfprintf(stream, format, args);
}

int __fprintf_chk(FILE *stream, int flag, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int written = __vfprintf_chk(stream, flag, format, args);
    va_end(args);
    return written;
}
