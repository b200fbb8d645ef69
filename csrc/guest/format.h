/* printf's formatting, without saying where the bytes go. */
#ifndef HL_GUEST_FORMAT_H
#define HL_GUEST_FORMAT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hl_sink {
    void (*put)(struct hl_sink *sink, const char *data, size_t size);
    size_t written; /* kept by hl_format_put */
};

/* The flags, width and so on of one conversion. */
struct hl_spec {
    bool left, plus, space, alternate, zero;
    int width, precision; /* precision -1: none was given */
    char length;          /* 'h', 'H' for hh, 'l', 'L' for a long double */
};

/* ---- sink.c ---- */

void hl_format_put(struct hl_sink *sink, const char *data, size_t size);
void hl_format_fill(struct hl_sink *sink, char byte, size_t count);
/* How many bytes `size` of them lack to the width. */
size_t hl_format_missing(const struct hl_spec *spec, size_t size);
/* A number as text: [sign or 0x][zeros][digits], filled up to the width. */
void hl_format_number(struct hl_sink *sink, const struct hl_spec *spec,
                      const char *prefix, const char *digits, size_t size,
                      size_t zeros);

/* ---- float.c ---- */

/* The conversion is one of f F e E g G. */
void hl_format_float(struct hl_sink *sink, const struct hl_spec *spec,
                     double value, char conversion);

/* ---- format.c ---- */

/* d i u x X o c s p % f F e E g G, with flags, width, precision and lengths.
 * What it does not know is printed as it stands.  Returns what was written. */
int hl_format(struct hl_sink *sink, const char *format, va_list args);

#endif
