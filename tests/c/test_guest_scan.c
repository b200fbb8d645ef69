/* The guest runtime's sscanf and gmtime, under other names, beside the C
 * library's, which is the oracle. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

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
#pragma GCC diagnostic ignored "-Wformat-nonliteral"

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

#define sscanf guest_sscanf
#define vsscanf guest_vsscanf
#define __isoc99_sscanf guest_isoc99_sscanf
#define __isoc99_vsscanf guest_isoc99_vsscanf
#define __isoc23_sscanf guest_isoc23_sscanf
#define __isoc23_vsscanf guest_isoc23_vsscanf
#include "guest/scan.c"
#undef sscanf
#undef vsscanf

#define tm guest_tm
#define gmtime guest_gmtime
#define gmtime_r guest_gmtime_r
#include "guest/calendar.c"
#undef tm
#undef gmtime
#undef gmtime_r

/* ---- sscanf ---- */

/* Four results of up to 64 bytes, and what is around them. */
struct results {
    _Alignas(16) char at[4][64];
};

static void same(const char *text, const char *format)
{
    struct results mine, theirs;

    memset(&mine, 0x5a, sizeof(mine));
    memset(&theirs, 0x5a, sizeof(theirs));
    int expected = sscanf(text, format, theirs.at[0], theirs.at[1],
                          theirs.at[2], theirs.at[3]);
    int assigned = guest_isoc99_sscanf(text, format, mine.at[0], mine.at[1],
                                       mine.at[2], mine.at[3]);
    bool equal = memcmp(&mine, &theirs, sizeof(mine)) == 0;
    if (assigned != expected || !equal)
        fprintf(stderr, "sscanf(\"%s\", \"%s\"): %d, not %d; %s\n", text,
                format, assigned, expected, equal ? "equal" : "different");
    CHECK(assigned == expected && equal);
}

static void test_text_is_scanned_as_in_the_c_library(void)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "12 34 56",
                                        "12,34,56",
                                        "-7x",
                                        "0x1f 077",
                                        "abc def",
                                        "a]b-c",
                                        "]]x",
                                        "%5",
                                        "  %  5",
                                        "4294967296",
                                        "-1 -1 -1",
                                        "+3e2 .5",
                                        "1.25",
                                        "inf nan",
                                        "12:34:56.7",
                                        "00000012",
                                        "x",
                                        "key = value",
                                        "1e5 2e-3x",
                                        "99999999999999999999 1",
                                        "a\tb\nc",
                                        "123456789",
                                        "0x1.8p3 0x.1P-1,",
                                        "0x1e+2x",
                                        "0x1p",
                                        "1e+ 2e"};
    static const char *const formats[] = {"%d%d%d",
                                          "%d,%d,%d",
                                          "%d %n%d%n",
                                          "%i%i",
                                          "%x%x",
                                          "%o%u",
                                          "%2d%2d%1d",
                                          "%*d%d",
                                          "%s%s",
                                          "%2s%n",
                                          "%c%c%c",
                                          "%3c",
                                          "%[a-z]%n",
                                          "%[^,]%n,%d",
                                          "%[]a-]%n%s",
                                          "%[^]]%n",
                                          "%hd%hhd%ld",
                                          "%lld%zu%td",
                                          "%jd%lu",
                                          "%%%d",
                                          "%lf%lf",
                                          "%f%f%f",
                                          "%4lf%n",
                                          "%d:%d:%lf",
                                          "%[^= ] = %s",
                                          "%*[a-z]%c",
                                          "%*s%n",
                                          "%p",
                                          " %c",
                                          "%d x",
                                          "%e%G",
                                          "%[a",
                                          "%3[0-9]%2x",
                                          "%1[^a]%s",
                                          "%d%%",
                                          "%5c%n",
                                          "",
                                          "%Lf",
                                          "%[0-9a-fA-F]%n",
                                          "%*c%*c%n"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
        for (size_t j = 0; j < sizeof(formats) / sizeof(*formats); j++)
            same(texts[i], formats[j]);
}

/* Formats and texts of the bytes that matter to them. */
static void test_random_text_is_scanned_as_in_the_c_library(void)
{
    static const char *const directives[] = {
        "%d",  "%i",  "%u",  "%x",  "%o",    "%s",    "%c",  "%n",
        "%2d", "%lf", "%3s", "%4x", "%[12]", "%[^,]", "%hd", "%hhu",
        "%ld", "%*d", "%*s", " ",   ",",     "1",     "%5lf"};
    static const char bytes[] = "0123456789  ,,--+.7a1xe";
    uint64_t random = 8;

    for (int i = 0; i < 200000; i++) {
        char text[32], format[64] = "";
        size_t size = next_random(&random) % 14;
        for (size_t k = 0; k < size; k++)
            text[k] = bytes[next_random(&random) % (sizeof(bytes) - 1)];
        text[size] = '\0';
        for (size_t k = 0; k < 4; k++)
            strcat(format, directives[next_random(&random) % 23]);
        same(text, format);
    }
}

/* The one difference that C23 made, where this C library may not know it. */
static void test_binary_numbers_are_scanned_as_c23_has_them(void)
{
    static const struct {
        const char *text;
        int assigned, number, after;
    } cases[] = {
        {"0b101x", 2, 5, 5}, {"-0B11 ", 2, -3, 5},  {"0b", 2, 0, 2},
        {"0b2", 2, 0, 2},    {"0x1fg", 2, 0x1f, 4}, {"017", 2, 15, 3},
        {"12b1", 2, 12, 2},  {"b1", 0, 7, 7},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        int number = 7, after = 7;
        int assigned =
            guest_isoc23_sscanf(cases[i].text, "%i%n", &number, &after);
        CHECK(assigned == (cases[i].assigned != 0));
        CHECK(number == cases[i].number && after == cases[i].after);
        number = after = 7;
        guest_isoc99_sscanf("0b101x", "%i%n", &number, &after);
        CHECK(number == 0 && after == 1);
        guest_isoc23_sscanf("0b101x", "%d%n", &number, &after);
        CHECK(number == 0 && after == 1);
    }
}

static void test_values_come_back_from_sscanf(void)
{
    uint64_t random = 9;

    for (int i = 0; i < 20000; i++) {
        uint64_t bits = next_random(&random) >> next_random(&random) % 64;
        char text[80];
        uint64_t hex;
        int64_t decimal, octal;
        snprintf(text, sizeof(text), "%lx;%ld;%lo", bits, (int64_t)bits, bits);
        CHECK(guest_sscanf(text, "%lx;%ld;%lo", &hex, &decimal, &octal) == 3);
        CHECK(hex == bits && decimal == (int64_t)bits &&
              octal == (int64_t)bits);
    }
}

/* ---- gmtime ---- */

static void same_date(long seconds)
{
    struct guest_tm mine = {0}, *found = guest_gmtime_r(&seconds, &mine);
    struct tm theirs = {0}, *expected = gmtime_r(&seconds, &theirs);

    CHECK((found == NULL) == (expected == NULL));
    if (!expected)
        return;
    bool equal =
        mine.tm_sec == theirs.tm_sec && mine.tm_min == theirs.tm_min &&
        mine.tm_hour == theirs.tm_hour && mine.tm_mday == theirs.tm_mday &&
        mine.tm_mon == theirs.tm_mon && mine.tm_year == theirs.tm_year &&
        mine.tm_wday == theirs.tm_wday && mine.tm_yday == theirs.tm_yday;
    if (!equal)
        fprintf(stderr, "gmtime(%ld)\n", seconds);
    CHECK(equal);
    CHECK(mine.tm_isdst == 0 && mine.tm_gmtoff == 0);
    CHECK(strcmp(mine.tm_zone, "GMT") == 0);
}

static void test_dates_are_the_c_librarys(void)
{
    uint64_t random = 10;

    _Static_assert(sizeof(struct guest_tm) == sizeof(struct tm), "one layout");
    for (long day = -400 * 366L; day < 800 * 366L; day++) {
        same_date(day * 86400);
        same_date(day * 86400 - 1);
    }
    for (int i = 0; i < 100000; i++)
        same_date((int64_t)next_random(&random) >> next_random(&random) % 64);
    same_date(LONG_MAX);
    same_date(LONG_MIN);
    same_date(67768036191676799); /* the last second that an int's year has */
    same_date(67768036191676800);
    same_date(-67768040609740800); /* the first */
    same_date(-67768040609740801);
    long seconds = 86400;
    CHECK(guest_gmtime(&seconds)->tm_mday == 2);
}

int main(void)
{
    RUN(test_text_is_scanned_as_in_the_c_library);
    RUN(test_random_text_is_scanned_as_in_the_c_library);
    RUN(test_binary_numbers_are_scanned_as_c23_has_them);
    RUN(test_values_come_back_from_sscanf);
    RUN(test_dates_are_the_c_librarys);
    return 0;
}
