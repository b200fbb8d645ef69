/* The guest runtime's printing, reading and sorting, under other names, beside
 * the C library's, which is the oracle. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "check.h"

#include "guest/internal.h"

void hl_abort(const char *format, ...)
{
    fprintf(stderr, "%s\n", format);
    abort();
}

/* Its headers declare what is defined here; these names only it has. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wshadow"

#define vsnprintf guest_vsnprintf
#define snprintf guest_snprintf
#define vsprintf guest_vsprintf
#define sprintf guest_sprintf
#include "guest/float.c"
#include "guest/format.c"
#include "guest/sink.c"
#undef vsnprintf
#undef snprintf
#undef sprintf

#define __assert_fail guest_assert_fail
#define abort guest_abort
#define exit guest_exit
#define abs guest_abs
#define labs guest_labs
#define llabs guest_llabs
#define strtoul guest_strtoul
#define strtol guest_strtol
#define strtoull guest_strtoull
#define strtoll guest_strtoll
#define __isoc23_strtol guest_isoc23_strtol
#define __isoc23_strtoll guest_isoc23_strtoll
#define __isoc23_strtoul guest_isoc23_strtoul
#define __isoc23_strtoull guest_isoc23_strtoull
#define atoi guest_atoi
#define atol guest_atol
#define atoll guest_atoll
#define strtod guest_strtod
#define strtof guest_strtof
#define atof guest_atof
#define qsort guest_qsort
#define bsearch guest_bsearch
#define strdup guest_strdup
#define strndup guest_strndup
#define srand guest_srand
#define rand guest_rand
#define getenv guest_getenv
#include "guest/lib.c"
#undef exit
#undef abort
#undef strtoul
#undef strtol
#undef strtod

/* ---- Text ---- */

static void same_text(const char *format, ...)
{
    static char mine[3000], theirs[3000];
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    int expected = vsnprintf(theirs, sizeof(theirs), format, args);
    int written = guest_vsnprintf(mine, sizeof(mine), format, again);
    va_end(again);
    va_end(args);
    if (written != expected || strcmp(mine, theirs) != 0)
        fprintf(stderr, "%s: \"%s\", not \"%s\"\n", format, mine, theirs);
    CHECK(written == expected && strcmp(mine, theirs) == 0);
}

/* % and flags, width and precision, at random. */
static void random_format(char *format, const char *end, uint64_t *random)
{
    char *p = format;

    *p++ = '<';
    *p++ = '%';
    for (int i = 0; i < 3; i++)
        if (next_random(random) % 3 == 0)
            *p++ = "-+ #0"[next_random(random) % 5];
    if (next_random(random) % 2)
        p += sprintf(p, "%d", (int)(next_random(random) % 30 + 1));
    if (next_random(random) % 2)
        p += sprintf(p, ".%d", (int)(next_random(random) % 25));
    strcpy(p, end);
    strcat(p, ">");
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

static void test_integers_print_as_in_the_c_library(void)
{
    static const char *const ends[] = {"d",  "i",   "u",  "x",  "X",  "o",
                                       "ld", "lu",  "lx", "zu", "hd", "hhd",
                                       "hx", "hhu", "lo", "jd"};
    uint64_t random = 4;
    char format[64];

    for (int i = 0; i < 100000; i++) {
        const char *end = ends[next_random(&random) % 16];
        random_format(format, end, &random);
        uint64_t value = next_random(&random) >> next_random(&random) % 64;
        value = i % 5 ? value : 0;
        if (strpbrk(end, "lzj"))
            same_text(format, value);
        else
            same_text(format, (unsigned)value);
    }
    same_text("%d %d %ld", INT_MIN, INT_MAX, LONG_MIN);
}

static void test_floats_print_as_in_the_c_library(void)
{
    static const char *const ends[] = {"f", "e", "g", "F", "E", "G"};
    uint64_t random = 5;
    char format[64];

    for (int i = 0; i < 100000; i++) {
        double value;
        uint64_t bits = next_random(&random);
        memcpy(&value, &bits, sizeof(value));
        if (i % 2) /* numbers that people write */
            value = (double)(int64_t)(bits % 2000001 - 1000000) /
                    (double)(i % 3 ? 1000 : 64);
        if (i % 50 == 0)
            value = 0;
        random_format(format, ends[next_random(&random) % 6], &random);
        same_text(format, value);
    }
    same_text("%f %e %g %F %G", INFINITY, NAN, -INFINITY, NAN, INFINITY);
    same_text("%.400f %.0f %.0e %#.0f %g", 5e-324, 0.5, 9.5, 1.0, 1e100);
    same_text("%.1000f", 5e-324);
    same_text("%Lf %.3Lg", (long double)1.5, (long double)1e-9);
}

static void test_text_prints_as_in_the_c_library(void)
{
    char small[8];

    same_text("%s|%10s|%-10s|%.2s|%.*s|%c|%5c|%%|%p", "abc", "abc", "abc",
              "abc", 1, "abc", 'x', 'y', (void *)small);
    same_text("%*d|%-*d|%0*d|%.*d", 5, 1, 5, 2, 5, 3, -1, 4);
    same_text("");
    CHECK(guest_snprintf(small, 0, "%d", 12345) == 5);
    CHECK(guest_snprintf(small, 4, "%d", 12345) == 5);
    CHECK(strcmp(small, "123") == 0);
    CHECK(guest_snprintf(small, 8, "%s %y", "a") == 4);
    CHECK(strcmp(small, "a %y") == 0);
}

static void test_numbers_are_read_as_in_the_c_library(void)
{
    static const char *const texts[] = {"0",
                                        "12",
                                        "-7x",
                                        "  +42 ",
                                        "0x1fG",
                                        "0x",
                                        "-0x10",
                                        "077",
                                        "",
                                        "-",
                                        "z",
                                        "9223372036854775807",
                                        "08",
                                        "+-1",
                                        "9223372036854775808",
                                        "-9223372036854775808",
                                        "-9223372036854775809",
                                        "18446744073709551615",
                                        "18446744073709551616",
                                        "99999999999999999999"};
    static const int bases[] = {0, 10, 16, 8, 2, 36};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        for (size_t j = 0; j < sizeof(bases) / sizeof(*bases); j++) {
            char *mine, *theirs;
            CHECK(guest_strtol(texts[i], &mine, bases[j]) ==
                  strtol(texts[i], &theirs, bases[j]));
            CHECK(mine == theirs);
            CHECK(guest_strtoul(texts[i], &mine, bases[j]) ==
                  strtoul(texts[i], &theirs, bases[j]));
            CHECK(mine == theirs);
        }
}

/* C23's names read binary numbers, and all else as the others do. */
static void test_binary_numbers_are_read_as_c23_has_them(void)
{
    static const struct {
        const char *text;
        int base;
        long number;
        int size;
    } cases[] = {
        {"0b101x", 0, 5, 5},  {"0B11", 2, 3, 4},   {" -0b10", 0, -2, 6},
        {"0b", 0, 0, 1},      {"0b2", 2, 0, 1},    {"0b1", 16, 0xb1, 3},
        {"0b1", 10, 0, 1},    {"0b1", 8, 0, 1},    {"b1", 0, 0, 0},
        {"0x1f", 0, 0x1f, 4}, {"0x1f", 16, 31, 4}, {"017", 0, 15, 3},
        {"101", 2, 5, 3},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *text = cases[i].text;
        int base = cases[i].base;
        char *end;
        CHECK(guest_isoc23_strtol(text, &end, base) == cases[i].number);
        CHECK(end == text + cases[i].size);
        CHECK(guest_isoc23_strtoll(text, &end, base) == cases[i].number);
        CHECK(end == text + cases[i].size);
        unsigned long bits = (unsigned long)cases[i].number;
        CHECK(guest_isoc23_strtoul(text, &end, base) == bits);
        CHECK(end == text + cases[i].size);
        CHECK(guest_isoc23_strtoull(text, &end, base) == bits);
        CHECK(end == text + cases[i].size);
    }
    char *end;
    CHECK(guest_strtol("0b101", &end, 0) == 0 && *end == 'b');
    errno = 0;
    CHECK(guest_isoc23_strtol("99999999999999999999", &end, 0) == LONG_MAX &&
          errno == ERANGE && *end == '\0');
}

static void test_floats_are_read_nearly_as_in_the_c_library(void)
{
    static const char *const texts[] = {"1",
                                        "-1.5e3x",
                                        ".5",
                                        "5.",
                                        "1e",
                                        "1e+",
                                        "e5",
                                        "-.",
                                        " 7e-2",
                                        "inf",
                                        "-INFINITY",
                                        "0x1.8p3x",
                                        "-0x.8P-1",
                                        "0x1.p",
                                        "0x.p1",
                                        "0x",
                                        "0x1p-1074",
                                        "0x1.fffffffffffff8p1023",
                                        "0x1.00000000000008p0",
                                        "0x1.000000000000080000000001p0",
                                        "0x1000000000000080000000001p-9",
                                        "0x0p99999",
                                        "1e400",
                                        "1e-400",
                                        "0e999999999",
                                        "123456789012345678901234567890",
                                        "0.000000000000000000000000001"};
    uint64_t random = 6;
    char text[64], *mine, *theirs;

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        double x = guest_strtod(texts[i], &mine);
        double y = strtod(texts[i], &theirs);
        bool hex = strchr(texts[i], 'x') != NULL; /* exact */
        CHECK(mine == theirs && (x == y || (!hex && fabs(x / y - 1) < 1e-15)));
    }
    for (int i = 0; i < 20000; i++) {
        double value;
        uint64_t bits = next_random(&random);
        memcpy(&value, &bits, sizeof(value));
        if (!isnormal(value))
            continue;
        snprintf(text, sizeof(text), "%.17g", value);
        CHECK(fabs(guest_strtod(text, &mine) / value - 1) < 1e-15);
        CHECK(*mine == '\0');
    }
}

static int by_value(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void test_arrays_are_sorted_and_found(void)
{
    int numbers[100];
    uint64_t random = 7;

    for (size_t count = 0; count <= 100; count++) {
        long sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += numbers[i] = (int)(next_random(&random) % 50);
        guest_qsort(numbers, count, sizeof(int), by_value);
        for (size_t i = 0; i < count; i++) {
            CHECK(i == 0 || numbers[i - 1] <= numbers[i]);
            int *found = guest_bsearch(&numbers[i], numbers, count,
                                       sizeof(int), by_value);
            CHECK(found && *found == numbers[i]);
            sum -= numbers[i];
        }
        int missing = 99;
        CHECK(sum == 0);
        CHECK(!guest_bsearch(&missing, numbers, count, sizeof(int), by_value));
    }
}

int main(void)
{
    RUN(test_integers_print_as_in_the_c_library);
    RUN(test_floats_print_as_in_the_c_library);
    RUN(test_text_prints_as_in_the_c_library);
    RUN(test_numbers_are_read_as_in_the_c_library);
    RUN(test_binary_numbers_are_read_as_c23_has_them);
    RUN(test_floats_are_read_nearly_as_in_the_c_library);
    RUN(test_arrays_are_sorted_and_found);
    return 0;
}
