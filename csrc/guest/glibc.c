/* Internal names of Linux's C library, which its headers put into libraries in
 * place of those in the source: the tables behind isalpha() and the like, the
 * locale "C", and queries to a kernel that does not exist here. */
#include "internal.h"

#include <errno.h>
#include <limits.h>

const unsigned short **__ctype_b_loc(void);
const int **__ctype_tolower_loc(void);
const int **__ctype_toupper_loc(void);
int tolower(int c);
int toupper(int c);
struct lconv *localeconv(void);
char *setlocale(int category, const char *locale);
void arc4random_buf(void *to, size_t size);
unsigned arc4random(void);
int raise(int signal);
int getpid(void);
int sched_yield(void);
int gettimeofday(void *time, void *zone);
long time(long *time);
long clock(void);

/* A guest may bring its own of any of these. */
#pragma weak __ctype_b_loc
#pragma weak __ctype_tolower_loc
#pragma weak __ctype_toupper_loc
#pragma weak arc4random
#pragma weak arc4random_buf
#pragma weak clock
#pragma weak getpid
#pragma weak gettimeofday
#pragma weak localeconv
#pragma weak raise
#pragma weak sched_yield
#pragma weak setlocale
#pragma weak time
#pragma weak tolower
#pragma weak toupper

/* ---- Characters: tables from -128, for signed char and EOF, to 255 ---- */

#define IN(c, low, high) ((c) >= (low) && (c) <= (high))
#define UPPER(c) IN(c, 'A', 'Z')
#define LOWER(c) IN(c, 'a', 'z')
#define DIGIT(c) IN(c, '0', '9')
#define ALPHA(c) (UPPER(c) || LOWER(c))
#define GRAPH(c) IN(c, '!', '~')

/* The bits as glibc's ctype.h has them on a little-endian machine. */
#define BITS(c)                                                               \
    (unsigned short)((UPPER(c) ? 0x100 : 0) | (LOWER(c) ? 0x200 : 0) |        \
                     (ALPHA(c) ? 0x400 : 0) | (DIGIT(c) ? 0x800 : 0) |        \
                     (DIGIT(c) || IN(c, 'a', 'f') || IN(c, 'A', 'F') ? 0x1000 \
                                                                     : 0) |   \
                     ((c) == ' ' || IN(c, 9, 13) ? 0x2000 : 0) |              \
                     (IN(c, ' ', '~') ? 0x4000 : 0) |                         \
                     (GRAPH(c) ? 0x8000 : 0) |                                \
                     ((c) == ' ' || (c) == '\t' ? 1 : 0) |                    \
                     (IN(c, 0, 31) || (c) == 127 ? 2 : 0) |                   \
                     (GRAPH(c) && !ALPHA(c) && !DIGIT(c) ? 4 : 0) |           \
                     (ALPHA(c) || DIGIT(c) ? 8 : 0))
/* Above 127 a byte is itself; below 0 it is the byte that it was, but EOF. */
#define LOWERED(c) (UPPER(c) ? (c) + 32 : (c) < -1 ? (c) + 256 : (c))
#define UPPERED(c) (LOWER(c) ? (c) - 32 : (c) < -1 ? (c) + 256 : (c))

#define X4(f, c) f(c), f((c) + 1), f((c) + 2), f((c) + 3)
#define X16(f, c) X4(f, c), X4(f, (c) + 4), X4(f, (c) + 8), X4(f, (c) + 12)
#define X64(f, c)                                                             \
    X16(f, c), X16(f, (c) + 16), X16(f, (c) + 32), X16(f, (c) + 48)
#define ALL(f)                                                                \
    {X64(f, -128), X64(f, -64), X64(f, 0),                                    \
     X64(f, 64),   X64(f, 128), X64(f, 192)}

static const unsigned short bits[384] = ALL(BITS);
static const int lowered[384] = ALL(LOWERED);
static const int uppered[384] = ALL(UPPERED);

const unsigned short **__ctype_b_loc(void)
{
    static const unsigned short *at = bits + 128;
    return &at;
}

const int **__ctype_tolower_loc(void)
{
    static const int *at = lowered + 128;
    return &at;
}

const int **__ctype_toupper_loc(void)
{
    static const int *at = uppered + 128;
    return &at;
}

int tolower(int c) { return UPPER(c) ? c + 32 : c; }
int toupper(int c) { return LOWER(c) ? c - 32 : c; }

/* ---- Locale ---- */

/* As glibc's locale.h lays it out: ten texts, fourteen numbers. */
struct lconv {
    const char *texts[10];
    char numbers[14];
};

struct lconv *localeconv(void)
{
    static struct lconv c = {
        .texts = {".", "", "", "", "", "", "", "", "", ""},
        .numbers = {[0 ... 13] = CHAR_MAX},
    };
    return &c;
}

char *setlocale(int category, const char *locale)
{
    static char name[] = "C";

    (void)category;
    bool known =
        locale == NULL || *locale == 0 || (locale[0] == 'C' && locale[1] == 0);
    return known ? name : NULL;
}

/* ---- Randomness, for hash tables and the like ---- */

/* SplitMix64 over the canary, which the host chose, and the time stamp:
 * differs from call to call, also after a restore.  Not for keys: the rest can
 * be predicted from a part of it. */
static uint64_t random_word(void)
{
    static uint64_t state;
    uint64_t canary, z;

    __asm__("mov %%fs:0x28, %0" : "=r"(canary));
    state += UINT64_C(0x9e3779b97f4a7c15);
    z = state ^ canary ^ __builtin_ia32_rdtsc();
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void arc4random_buf(void *to, size_t size)
{
    unsigned char *at = to;

    for (size_t i = 0; i < size; i++)
        at[i] = (unsigned char)(random_word() >> 56);
}

unsigned arc4random(void) { return (unsigned)(random_word() >> 32); }

/* ---- What there is not ---- */

int raise(int signal) { hl_abort("raise(%d) was called", signal); }

int getpid(void) { return 1; }

int sched_yield(void) { return 0; }

static int no_clock(void)
{
    errno = ENOSYS;
    return -1;
}

int gettimeofday(void *time, void *zone)
{
    (void)zone;
    if (time)
        __builtin_memset(time, 0, 2 * sizeof(long));
    return no_clock();
}

long time(long *time)
{
    if (time)
        *time = -1;
    return no_clock();
}

long clock(void) { return no_clock(); }
