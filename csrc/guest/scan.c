/* sscanf: printf's directives, read instead of written. */
#include "internal.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The names that glibc's stdio.h gives to the function of C99 and, since 2.38,
 * to that of C23, whose %i reads binary numbers, too. */
int __isoc99_sscanf(const char *restrict text, const char *restrict format,
                    ...);
int __isoc99_vsscanf(const char *restrict text, const char *restrict format,
                     va_list args);
int __isoc23_sscanf(const char *restrict text, const char *restrict format,
                    ...);
int __isoc23_vsscanf(const char *restrict text, const char *restrict format,
                     va_list args);
/* lib.c */
long __isoc23_strtol(const char *restrict text, char **restrict end, int base);

/* A guest may bring its own of any of these. */
#pragma weak __isoc99_sscanf
#pragma weak __isoc99_vsscanf
#pragma weak __isoc23_sscanf
#pragma weak __isoc23_vsscanf
#pragma weak sscanf
#pragma weak vsscanf

/* One directive: %[*][width][length]conversion. */
struct directive {
    bool discard;
    bool binary;     /* of %i: 0b is a prefix, as 0x is */
    size_t width;    /* SIZE_MAX: none was given */
    char length;     /* 'H' for hh, 'q' for 64 bits, 'L' for a long double */
    char conversion; /* of %[...] this, with the set behind it */
};

enum outcome { MATCHED, MISMATCH, AT_END };

static const char *skip_space(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* Returns where the format goes on. */
static const char *read_directive(const char *p, bool binary,
                                  struct directive *d)
{
    *d = (struct directive){.binary = binary, .width = SIZE_MAX};
    if (*p == '*') {
        d->discard = true;
        p++;
    }
    if (isdigit(*p)) {
        char *end;
        d->width = strtoul(p, &end, 10);
        p = end;
    }
    if (p[0] == 'h' && p[1] == 'h') {
        d->length = 'H';
        p += 2;
    } else if (p[0] == 'h' || p[0] == 'L') {
        d->length = *p++;
    } else if (*p != '\0' && strchr("ljzt", *p)) {
        d->length = 'q';
        p += p[0] == 'l' && p[1] == 'l' ? 2 : 1;
    }
    d->conversion = *p;
    return *p != '\0' ? p + 1 : p;
}

/* ---- Where results go ---- */

static void store_integer(const struct directive *d, void *to, uint64_t value)
{
    size_t size = d->length == 'q' || d->length == 'L' ? 8
                  : d->length == 'h'                   ? 2
                  : d->length == 'H'                   ? 1
                                                       : 4;
    memcpy(to, &value, size); /* the low bytes come first */
}

static void store_float(const struct directive *d, void *to, double value)
{
    float single = (float)value;
    long double extended = value;

    if (d->length == 'L')
        memcpy(to, &extended, 10); /* the rest is padding */
    else if (d->length == 'q')
        memcpy(to, &value, sizeof(value));
    else
        memcpy(to, &single, sizeof(single));
}

/* ---- Conversions: each returns how many bytes match ---- */

/* A directive takes all that can begin a number, also where the number then
 * ends before it, as in 0x or 1e+; what strtol and strtod leave of that is
 * skipped here as Linux's C library does. */

/* Whether the number that ends at `end` is the 0 of a bare 0x, or 0b. */
static bool bare_prefix(const char *word, const char *end, char mark)
{
    word += *word == '-' || *word == '+';
    return *word == '0' && end == word + 1 && (*end | 32) == mark;
}

/* How much of an exponent without digits stands at `end`. */
static size_t bare_exponent(const char *word, const char *end)
{
    word += *word == '-' || *word == '+';
    bool hex = word[0] == '0' && (word[1] | 32) == 'x';
    char mark = hex ? 'p' : 'e';

    if ((*end | 32) != mark || (!hex && !isdigit(end[-1]) && end[-1] != '.'))
        return 0;
    for (; word < end; word++)
        if ((*word | 32) == mark) /* it has an exponent */
            return 0;
    return end[1] == '-' || end[1] == '+' ? 2 : 1;
}

static size_t scan_integer(const struct directive *d, const char *word,
                           void *to)
{
    char *end;
    bool is_signed = d->conversion == 'd' || d->conversion == 'i';
    int base = d->conversion == 'i'                           ? 0
               : d->conversion == 'o'                         ? 8
               : d->conversion == 'd' || d->conversion == 'u' ? 10
                                                              : 16;
    bool binary = base == 0 && d->binary;
    uint64_t value = binary      ? (uint64_t)__isoc23_strtol(word, &end, 0)
                     : is_signed ? (uint64_t)strtol(word, &end, base)
                                 : strtoul(word, &end, base);

    if (end == word)
        return 0;
    if (to)
        store_integer(d, to, value);
    return (size_t)(end - word) +
           ((base == 16 || base == 0) && bare_prefix(word, end, 'x')) +
           (binary && bare_prefix(word, end, 'b'));
}

static size_t scan_float(const struct directive *d, const char *word, void *to)
{
    char *end;
    double value = strtod(word, &end);

    if (end == word || bare_prefix(word, end, 'x'))
        return 0;
    if (to)
        store_float(d, to, value);
    return (size_t)(end - word) + bare_exponent(word, end);
}

/* A number at `text`, which a width may end before the text does. */
static size_t scan_number(const struct directive *d, const char *text,
                          void *to)
{
    char conversion = d->conversion;
    bool is_integer = conversion != '\0' && strchr("diuoxXp", conversion);
    char *cut = NULL;

    if (d->width != SIZE_MAX && !(cut = strndup(text, d->width)))
        return 0;
    const char *word = cut ? cut : text;
    size_t size =
        is_integer ? scan_integer(d, word, to) : scan_float(d, word, to);
    free(cut);
    return size;
}

/* Whether the set from `set` to its closing bracket has this byte. */
static bool in_set(const char *set, const char *close, unsigned char byte)
{
    bool inverted = *set == '^';

    for (set += inverted; set < close; set++) {
        bool range = set + 2 < close && set[1] == '-';
        unsigned char low = (unsigned char)set[0];
        unsigned char high = range ? (unsigned char)set[2] : low;
        if (byte >= low && byte <= high)
            return !inverted;
        set += range ? 2 : 0;
    }
    return inverted;
}

/* Its closing bracket: one that comes first is part of the set. */
static const char *end_of_set(const char *set)
{
    set += *set == '^';
    return *set != '\0' ? strchr(set + 1, ']') : NULL;
}

static size_t scan_text(const struct directive *d, const char *text,
                        const char *set, const char *close, char *to)
{
    size_t width = d->width;
    size_t size = 0;

    if (d->conversion == 'c') {
        size = strnlen(text, width == SIZE_MAX ? 1 : width);
    } else {
        while (size < width && text[size] != '\0' &&
               (set ? in_set(set, close, (unsigned char)text[size])
                    : !isspace((unsigned char)text[size])))
            size++;
    }
    if (to) {
        memcpy(to, text, size);
        if (d->conversion != 'c' && size != 0)
            to[size] = '\0';
    }
    return size;
}

/* ---- The whole format ---- */

struct scan {
    const char *start, *at; /* the text, and where it goes on */
    const char *format;     /* what is left of it */
    int assigned;
    va_list args;
};

/* A directive that was read from the format, where its set is left. */
static enum outcome scan_one(struct scan *scan, const struct directive *d)
{
    char conversion = d->conversion;
    const char *set = NULL, *close = NULL;
    size_t size;

    if (conversion == '[') {
        set = scan->format;
        close = end_of_set(set);
        if (!close)
            return MISMATCH;
        scan->format = close + 1;
    }
    if (conversion == 'n') {
        if (!d->discard)
            store_integer(d, va_arg(scan->args, void *),
                          (uint64_t)(scan->at - scan->start));
        return MATCHED;
    }
    bool is_number =
        conversion != '\0' && strchr("diuoxXpaAeEfFgG", conversion) != NULL;
    if (is_number || conversion == 's' || conversion == '%')
        scan->at = skip_space(scan->at);
    if (*scan->at == '\0')
        return AT_END;
    if (conversion == '%')
        return *scan->at++ == '%' ? MATCHED : MISMATCH;
    if (!is_number && !set && conversion != 's' && conversion != 'c')
        return MISMATCH;
    void *to = d->discard ? NULL : va_arg(scan->args, void *);
    struct directive one = *d;
    if (conversion == 'p')
        one.length = 'q';
    size = is_number ? scan_number(&one, scan->at, to)
                     : scan_text(d, scan->at, set, close, to);
    scan->at += size;
    if (size == 0)
        return MISMATCH;
    scan->assigned += !d->discard;
    return MATCHED;
}

static int scan_all(const char *text, const char *format, bool binary,
                    va_list args)
{
    struct scan scan = {.start = text, .at = text, .format = format};
    enum outcome outcome = MATCHED;
    struct directive d;

    va_copy(scan.args, args);
    while (*scan.format != '\0' && outcome == MATCHED) {
        if (isspace((unsigned char)*scan.format)) {
            scan.format++;
            scan.at = skip_space(scan.at);
        } else if (*scan.format == '%') {
            scan.format = read_directive(scan.format + 1, binary, &d);
            outcome = scan_one(&scan, &d);
        } else if (*scan.at == '\0') {
            outcome = AT_END;
        } else {
            outcome = *scan.at++ == *scan.format++ ? MATCHED : MISMATCH;
        }
    }
    va_end(scan.args);
    return outcome == AT_END && scan.assigned == 0 ? EOF : scan.assigned;
}

int vsscanf(const char *restrict text, const char *restrict format,
            va_list args)
{
    return scan_all(text, format, false, args);
}

int sscanf(const char *restrict text, const char *restrict format, ...)
{
    va_list args;
    va_start(args, format);
    int assigned = vsscanf(text, format, args);
    va_end(args);
    return assigned;
}

int __isoc99_vsscanf(const char *restrict text, const char *restrict format,
                     va_list args)
{
    return vsscanf(text, format, args);
}

int __isoc99_sscanf(const char *restrict text, const char *restrict format,
                    ...)
{
    va_list args;
    va_start(args, format);
    int assigned = vsscanf(text, format, args);
    va_end(args);
    return assigned;
}

int __isoc23_vsscanf(const char *restrict text, const char *restrict format,
                     va_list args)
{
    return scan_all(text, format, true, args);
}

int __isoc23_sscanf(const char *restrict text, const char *restrict format,
                    ...)
{
    va_list args;
    va_start(args, format);
    int assigned = scan_all(text, format, true, args);
    va_end(args);
    return assigned;
}
