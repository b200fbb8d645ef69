/* printf's conversions, and printing into memory. */
#include "format.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static void put_text(struct hl_sink *sink, const struct hl_spec *spec,
                     const char *text, size_t size)
{
    if (!spec->left)
        hl_format_fill(sink, ' ', hl_format_missing(spec, size));
    hl_format_put(sink, text, size);
    if (spec->left)
        hl_format_fill(sink, ' ', hl_format_missing(spec, size));
}

static void put_integer(struct hl_sink *sink, struct hl_spec *spec,
                        uint64_t value, unsigned base, const char *prefix,
                        const char *letters)
{
    char buffer[24];
    char *digits = buffer + sizeof(buffer);

    for (uint64_t v = value; v != 0; v /= base)
        *--digits = letters[v % base];
    size_t size = (size_t)(buffer + sizeof(buffer) - digits);
    size_t least = spec->precision < 0 ? 1 : (size_t)spec->precision;
    if (base == 8 && spec->alternate && least <= size)
        least = size + 1; /* # with o: begins with a 0 */
    if (spec->precision >= 0)
        spec->zero = false; /* the precision says how many zeros */
    hl_format_number(sink, spec, prefix, digits, size,
                     least > size ? least - size : 0);
}

static void put_signed(struct hl_sink *sink, struct hl_spec *spec,
                       int64_t value)
{
    const char *sign = value < 0     ? "-"
                       : spec->plus  ? "+"
                       : spec->space ? " "
                                     : "";
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_integer(sink, spec, size, 10, sign, "0123456789");
}

static void put_unsigned(struct hl_sink *sink, struct hl_spec *spec,
                         uint64_t value, char conversion)
{
    const char *prefix = "", *letters = "0123456789abcdef";
    unsigned base = conversion == 'u' ? 10 : conversion == 'o' ? 8 : 16;

    if (conversion == 'X')
        letters = "0123456789ABCDEF";
    if (spec->alternate && base == 16 && value != 0)
        prefix = conversion == 'X' ? "0X" : "0x";
    put_integer(sink, spec, value, base, prefix, letters);
}

/* A decimal number; what no int can hold is its largest. */
static int read_number(const char **at)
{
    int number = 0;
    for (; **at >= '0' && **at <= '9'; ++*at)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, **at - '0', &number))
            number = INT_MAX / 16;
    return number;
}

static bool read_flag(struct hl_spec *spec, char flag)
{
    switch (flag) {
    case '-':
        return spec->left = true;
    case '+':
        return spec->plus = true;
    case ' ':
        return spec->space = true;
    case '#':
        return spec->alternate = true;
    case '0':
        return spec->zero = true;
    default:
        return false;
    }
}

static void read_length(struct hl_spec *spec, const char **at)
{
    for (;; ++*at) {
        if (**at == 'h')
            spec->length = spec->length == 'h' ? 'H' : 'h';
        else if (**at == 'L')
            spec->length = 'L';
        else if (**at == 'l' || **at == 'z' || **at == 'j' || **at == 't')
            spec->length = 'l'; /* all of them have 64 bits */
        else
            return;
    }
}

static int64_t narrow_signed(char length, int64_t value)
{
    return length == 'h'   ? (short)value
           : length == 'H' ? (signed char)value
                           : value;
}

static uint64_t narrow_unsigned(char length, uint64_t value)
{
    return length == 'h'   ? (unsigned short)value
           : length == 'H' ? (unsigned char)value
                           : value;
}

/* A va_list that functions can share: the type may be an array. */
struct arguments {
    va_list list;
};

static void read_spec(struct hl_spec *spec, const char **at,
                      struct arguments *args)
{
    *spec = (struct hl_spec){.precision = -1};
    while (read_flag(spec, **at))
        ++*at;
    if (**at == '*') {
        ++*at;
        spec->width = va_arg(args->list, int);
        if (spec->width < 0) {
            spec->left = true;
            spec->width = spec->width == INT_MIN ? 0 : -spec->width;
        }
    } else {
        spec->width = read_number(at);
    }
    if (**at == '.') {
        ++*at;
        if (**at == '*') {
            ++*at;
            spec->precision = va_arg(args->list, int);
        } else {
            spec->precision = read_number(at);
        }
    }
    read_length(spec, at);
}

/* False for a conversion that is not known. */
static bool convert(struct hl_sink *sink, struct hl_spec *spec,
                    char conversion, struct arguments *args)
{
    bool wide = spec->length == 'l';
    char byte = '%';

    switch (conversion) {
    case 'd':
    case 'i': {
        int64_t v = wide ? va_arg(args->list, long) : va_arg(args->list, int);
        put_signed(sink, spec, narrow_signed(spec->length, v));
        return true;
    }
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
        uint64_t v = wide ? va_arg(args->list, unsigned long)
                          : va_arg(args->list, unsigned);
        put_unsigned(sink, spec, narrow_unsigned(spec->length, v), conversion);
        return true;
    }
    case 'p':
        spec->alternate = true;
        put_unsigned(sink, spec, (uintptr_t)va_arg(args->list, void *), 'x');
        return true;
    case 'c':
        byte = (char)va_arg(args->list, int);
        put_text(sink, spec, &byte, 1);
        return true;
    case 's': {
        const char *text = va_arg(args->list, const char *);
        if (!text)
            text = "(null)";
        size_t size = spec->precision < 0
                          ? strlen(text)
                          : strnlen(text, (size_t)spec->precision);
        put_text(sink, spec, text, size);
        return true;
    }
    case 'f':
    case 'F':
    case 'e':
    case 'E':
    case 'g':
    case 'G':
        hl_format_float(sink, spec,
                        spec->length == 'L'
                            ? (double)va_arg(args->list, long double)
                            : va_arg(args->list, double),
                        conversion);
        return true;
    case '%':
        hl_format_put(sink, &byte, 1);
        return true;
    default:
        return false;
    }
}

int hl_format(struct hl_sink *sink, const char *format, va_list list)
{
    struct arguments args;

    va_copy(args.list, list);
    while (*format != '\0') {
        size_t plain = strcspn(format, "%");
        hl_format_put(sink, format, plain);
        format += plain;
        if (*format == '\0')
            break;
        struct hl_spec spec;
        const char *at = format + 1;
        read_spec(&spec, &at, &args);
        if (convert(sink, &spec, *at, &args))
            format = at + 1;
        else
            hl_format_put(sink, format++, 1);
    }
    va_end(args.list);
    return sink->written > INT_MAX ? -1 : (int)sink->written;
}

/* ---- Into memory ---- */

struct buffer {
    struct hl_sink sink;
    char *to;
    size_t room; /* without the terminator */
};

static void put_memory(struct hl_sink *sink, const char *data, size_t size)
{
    struct buffer *buffer = (struct buffer *)sink;
    size_t fits = size < buffer->room ? size : buffer->room;

    memcpy(buffer->to, data, fits);
    buffer->to += fits;
    buffer->room -= fits;
}

int vsnprintf(char *to, size_t size, const char *restrict format, va_list args)
{
    struct buffer buffer = {
        .sink = {.put = put_memory},
        .to = to,
        .room = size ? size - 1 : 0,
    };
    int written = hl_format(&buffer.sink, format, args);
    if (size != 0)
        *buffer.to = '\0';
    return written;
}

int snprintf(char *to, size_t size, const char *restrict format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vsnprintf(to, size, format, args);
    va_end(args);
    return written;
}

int vsprintf(char *to, const char *restrict format, va_list args)
{
    return vsnprintf(to, (size_t)INT_MAX + 1, format, args);
}

int sprintf(char *to, const char *restrict format, ...)
{
    va_list args;
    va_start(args, format);
    int written = vsprintf(to, format, args);
    va_end(args);
    return written;
}
