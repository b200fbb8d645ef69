/* The rest of what portable code calls: numbers from text, sorting, copies
 * of strings on the heap, the end. */
#include "internal.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The names that glibc's stdlib.h has for them since 2.38, which read binary
 * numbers as C23 has them; so libraries of Debian 13 call these. */
long __isoc23_strtol(const char *restrict text, char **restrict end, int base);
long long __isoc23_strtoll(const char *restrict text, char **restrict end,
                           int base);
unsigned long __isoc23_strtoul(const char *restrict text, char **restrict end,
                               int base);
unsigned long long __isoc23_strtoull(const char *restrict text,
                                     char **restrict end, int base);

/* A guest may bring its own of any of these. */
#pragma weak __isoc23_strtol
#pragma weak __isoc23_strtoll
#pragma weak __isoc23_strtoul
#pragma weak __isoc23_strtoull

/* ---- The end ---- */

void abort(void) { hl_abort("abort() was called"); }

void exit(int status) { hl_abort("exit(%d) was called", status); }

void __assert_fail(const char *condition, const char *file, unsigned line,
                   const char *function)
{
    hl_abort("%s:%u: %s: assertion failed: %s", file, line, function,
             condition);
}

/* ---- Numbers ---- */

int abs(int number) { return number < 0 ? -number : number; }
long labs(long number) { return number < 0 ? -number : number; }
long long llabs(long long number) { return number < 0 ? -number : number; }

static const char *skip_sign(const char *text, bool *negative)
{
    while (isspace((unsigned char)*text))
        text++;
    *negative = *text == '-';
    return *text == '-' || *text == '+' ? text + 1 : text;
}

/* A digit's value, or a number that is not a digit in any base. */
static unsigned digit_of(char c)
{
    if (isdigit(c))
        return (unsigned)(c - '0');
    return isalpha(c) ? (unsigned)(tolower(c) - 'a' + 10) : UINT_MAX;
}

/* Whether text is 0, this mark and a digit of this base. */
static bool has_prefix(const char *text, char mark, unsigned base)
{
    return text[0] == '0' && (text[1] | 32) == mark &&
           digit_of(text[2]) < base;
}

/* Which numbers have a prefix: 0x, and since C23 0b. */
enum prefixes { HEX, HEX_AND_BINARY };

/* The number behind the sign; *end is `text` where there is none. */
static uint64_t read_digits(const char *text, const char **end, int base,
                            enum prefixes prefixes, bool *overflow)
{
    uint64_t number = 0;

    if ((base == 0 || base == 16) && has_prefix(text, 'x', 16)) {
        text += 2;
        base = 16;
    } else if (prefixes == HEX_AND_BINARY && (base == 0 || base == 2) &&
               has_prefix(text, 'b', 2)) {
        text += 2;
        base = 2;
    } else if (base == 0) {
        base = *text == '0' ? 8 : 10;
    }
    for (; digit_of(*text) < (unsigned)base; *end = ++text)
        *overflow |= __builtin_mul_overflow(number, (uint64_t)base, &number) ||
                     __builtin_add_overflow(number, digit_of(*text), &number);
    return number;
}

static uint64_t read_integer(const char *text, char **end, int base,
                             enum prefixes prefixes, bool *negative,
                             bool *overflow)
{
    const char *stop = text;
    const char *digits = skip_sign(text, negative);

    const char *after = digits;
    uint64_t number = read_digits(digits, &after, base, prefixes, overflow);
    if (after != digits)
        stop = after;
    if (end)
        *end = (char *)(uintptr_t)stop;
    return number;
}

static unsigned long read_unsigned(const char *text, char **end, int base,
                                   enum prefixes prefixes)
{
    bool negative, overflow = false;
    uint64_t number =
        read_integer(text, end, base, prefixes, &negative, &overflow);

    if (overflow) {
        errno = ERANGE;
        return ULONG_MAX;
    }
    return negative ? 0 - number : number;
}

static long read_signed(const char *text, char **end, int base,
                        enum prefixes prefixes)
{
    bool negative, overflow = false;
    uint64_t number =
        read_integer(text, end, base, prefixes, &negative, &overflow);
    uint64_t limit = (uint64_t)LONG_MAX + negative;

    if (overflow || number > limit) {
        errno = ERANGE;
        return negative ? LONG_MIN : LONG_MAX;
    }
    return (long)(negative ? 0 - number : number);
}

long strtol(const char *restrict text, char **restrict end, int base)
{
    return read_signed(text, end, base, HEX);
}

long __isoc23_strtol(const char *restrict text, char **restrict end, int base)
{
    return read_signed(text, end, base, HEX_AND_BINARY);
}

long long __isoc23_strtoll(const char *restrict text, char **restrict end,
                           int base)
{
    return read_signed(text, end, base, HEX_AND_BINARY);
}

unsigned long strtoul(const char *restrict text, char **restrict end, int base)
{
    return read_unsigned(text, end, base, HEX);
}

unsigned long __isoc23_strtoul(const char *restrict text, char **restrict end,
                               int base)
{
    return read_unsigned(text, end, base, HEX_AND_BINARY);
}

unsigned long long __isoc23_strtoull(const char *restrict text,
                                     char **restrict end, int base)
{
    return read_unsigned(text, end, base, HEX_AND_BINARY);
}

unsigned long long strtoull(const char *restrict text, char **restrict end,
                            int base)
{
    return strtoul(text, end, base);
}

long long strtoll(const char *restrict text, char **restrict end, int base)
{
    return strtol(text, end, base);
}

int atoi(const char *text) { return (int)strtol(text, NULL, 10); }
long atol(const char *text) { return strtol(text, NULL, 10); }
long long atoll(const char *text) { return strtol(text, NULL, 10); }

/* value * 10^exponent.  In 64 bits of precision, so that what is left when it
 * is rounded to a double is wrong by at most one in the last place. */
static long double scale(long double value, int exponent)
{
    long double power = 10;
    unsigned left = (unsigned)(exponent < 0 ? -exponent : exponent);

    if (left > 4900) /* beyond what even this type has */
        left = 4900;
    for (; left != 0; left /= 2, power *= power)
        if (left % 2 != 0)
            value = exponent < 0 ? value / power : value * power;
    return value;
}

/* Digits with a point in them: value, and by how many places it moved. */
static uint64_t read_decimal(const char **text, int *places)
{
    uint64_t number = 0;
    bool point = false;

    for (;; ++*text) {
        if (**text == '.' && !point) {
            point = true;
        } else if (!isdigit(**text)) {
            return number;
        } else if (number < UINT64_MAX / 10 - 1) {
            number = number * 10 + (uint64_t)(**text - '0');
            *places -= point;
        } else {
            *places += !point; /* more digits than fit: a place is enough */
        }
    }
}

static bool read_word(const char **text, const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; i < size; i++)
        if (tolower((*text)[i]) != word[i])
            return false;
    *text += size;
    return true;
}

static double read_special(const char **text)
{
    if (read_word(text, "infinity") || read_word(text, "inf"))
        return __builtin_inf();
    return read_word(text, "nan") ? __builtin_nan("") : 0;
}

/* The scaled number as a double; a number other than 0 may not fit. */
static double rounded(uint64_t number, long double scaled)
{
    double value = (double)scaled;
    if (number != 0 && (value == 0 || __builtin_isinf(value)))
        errno = ERANGE;
    return value;
}

/* `mark`, e or p, and what is behind it: an exponent, or 0 and no step. */
static int read_exponent(const char **text, char mark)
{
    const char *at = *text;
    bool negative;

    if ((*at | 32) != mark || isspace((unsigned char)at[1]) ||
        !isdigit(*skip_sign(at + 1, &negative)))
        return 0;
    char *end;
    long exponent = strtol(at + 1, &end, 10);
    *text = end;
    return (int)(exponent > 99999    ? 99999
                 : exponent < -99999 ? -99999
                                     : exponent);
}

/* What is behind 0x.  Exact: bits that do not fit leave a trace in the last.
 */
static double read_hex_float(const char **text)
{
    uint64_t number = 0;
    bool point = false;
    int places = 0;

    for (;; ++*text) {
        unsigned digit = digit_of(**text);
        if (**text == '.' && !point) {
            point = true;
        } else if (digit >= 16) {
            break;
        } else if (number >> 60 == 0) {
            number = number * 16 + digit;
            places -= 4 * point;
        } else {
            number |= digit != 0;
            places += 4 * !point;
        }
    }
    places += read_exponent(text, 'p');
    return rounded(number, scalbnl((long double)number, number ? places : 0));
}

static bool is_hex_float(const char *text)
{
    return text[0] == '0' && (text[1] | 32) == 'x' &&
           (digit_of(text[2]) < 16 ||
            (text[2] == '.' && digit_of(text[3]) < 16));
}

static double read_decimal_float(const char **text)
{
    int places = 0;
    uint64_t number = read_decimal(text, &places);

    places += read_exponent(text, 'e');
    return rounded(number, scale((long double)number, number ? places : 0));
}

static double read_float(const char **text)
{
    const char *at = *text;

    if (!isdigit(at[0]) && !(at[0] == '.' && isdigit(at[1])))
        return read_special(text);
    if (!is_hex_float(at))
        return read_decimal_float(text);
    *text += 2;
    return read_hex_float(text);
}

double strtod(const char *restrict text, char **restrict end)
{
    bool negative;
    const char *digits = skip_sign(text, &negative), *at = digits;
    double value = read_float(&at);

    if (end)
        *end = (char *)(uintptr_t)(at == digits ? text : at);
    return negative ? -value : value;
}

float strtof(const char *restrict text, char **restrict end)
{
    return (float)strtod(text, end);
}

double atof(const char *text) { return strtod(text, NULL); }

/* ---- Arrays ---- */

static void swap(char *a, char *b, size_t size)
{
    for (; size > 0; size--, a++, b++) {
        char c = *a;
        *a = *b;
        *b = c;
    }
}

/* A heap sort: in place, without recursion, and no input makes it slow. */
void qsort(void *array, size_t count, size_t size,
           int (*compare)(const void *, const void *))
{
    char *a = array;

    if (count < 2 || size == 0)
        return;
    for (size_t first = count / 2, end = count; end > 1;) {
        if (first > 0)
            first--; /* still building the heap */
        else
            swap(a, a + --end * size, size);
        for (size_t i = first, child; (child = 2 * i + 1) < end; i = child) {
            if (child + 1 < end &&
                compare(a + child * size, a + (child + 1) * size) < 0)
                child++;
            if (compare(a + i * size, a + child * size) >= 0)
                break;
            swap(a + i * size, a + child * size, size);
        }
    }
}

void *bsearch(const void *key, const void *array, size_t count, size_t size,
              int (*compare)(const void *, const void *))
{
    const char *a = array;

    while (count > 0) {
        const char *middle = a + count / 2 * size;
        int order = compare(key, middle);
        if (order == 0)
            return (char *)(uintptr_t)middle;
        if (order > 0) {
            a = middle + size;
            count--;
        }
        count /= 2;
    }
    return NULL;
}

/* ---- The rest ---- */

char *strndup(const char *text, size_t limit)
{
    size_t size = strnlen(text, limit);
    char *copy = malloc(size + 1);

    if (copy) {
        memcpy(copy, text, size);
        copy[size] = '\0';
    }
    return copy;
}

char *strdup(const char *text) { return strndup(text, strlen(text)); }

static uint64_t seed = 1;

void srand(unsigned given) { seed = given; }

int rand(void)
{
    seed =
        seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int)(seed >> 33);
}

char *getenv(const char *name)
{
    (void)name;
    return NULL;
}
