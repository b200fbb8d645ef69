/* The parts of the math library that Linux keeps in its C library instead:
 * taking floating-point numbers apart and putting them together.  With them
 * and what ifunc.c has, the system's own libm.a links into a guest.
 *
 * All types go through the 80 bits of a long double and back, which is exact:
 * each has all numbers of the shorter ones, and only what the last step cannot
 * hold is rounded, once. */
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* A long double: 64 bits of it with the leading one, sign and exponent. */
struct parts {
    uint64_t mantissa;
    uint16_t top;
};

#define SIGN 0x8000
#define BIAS 16383 /* the exponent of 1.0 */
#define SPECIAL 0x7fff

static struct parts take_apart(long double x)
{
    struct parts parts;
    memcpy(&parts.mantissa, &x, 8);
    memcpy(&parts.top, (const char *)&x + 8, 2);
    return parts;
}

static long double join(struct parts parts)
{
    long double x = 0;
    memcpy(&x, &parts.mantissa, 8);
    memcpy((char *)&x + 8, &parts.top, 2);
    return x;
}

/* x * 2^n */
static long double scale(long double x, long double n)
{
    __asm__("fscale" : "+t"(x) : "u"(n));
    return x;
}

/* x as a fraction from 0.5 to 1 and a power of two. */
static long double split(long double x, int *exponent)
{
    struct parts parts = take_apart(x);
    int moved = 0;

    *exponent = 0;
    if ((parts.top & SPECIAL) == SPECIAL || x == 0)
        return x;
    if ((parts.top & SPECIAL) == 0) { /* no leading one */
        parts = take_apart(scale(x, 64));
        moved = 64;
    }
    *exponent = (parts.top & SPECIAL) - (BIAS - 1) - moved;
    parts.top = (uint16_t)((parts.top & SIGN) | (BIAS - 1));
    return join(parts);
}

/* x without what is behind the point. */
static long double whole(long double x)
{
    struct parts parts = take_apart(x);
    int exponent = (parts.top & SPECIAL) - BIAS;

    if (exponent < 0)
        parts = (struct parts){.top = parts.top & SIGN};
    else if (exponent < 63)
        parts.mantissa &= ~((uint64_t)INT64_MAX >> exponent);
    return join(parts);
}

/* For libraries, which may bring their own of any; many call them by the names
 * with __ in front. */
#define WEAK __attribute__((weak))
#define ALSO(name)                                                            \
    WEAK extern __typeof__(name) __##name __attribute__((alias(#name)));

/* The functions of one type; `s` is what their names end with. */
#define FUNCTIONS(type, s)                                                    \
    WEAK type frexp##s(type x, int *exponent)                                 \
    {                                                                         \
        return (type)split(x, exponent);                                      \
    }                                                                         \
    WEAK type scalbn##s(type x, int n) { return (type)scale(x, n); }          \
    WEAK type ldexp##s(type x, int n)                                         \
    {                                                                         \
        type y = (type)scale(x, n);                                           \
        if (__builtin_isfinite(x) && x != 0 &&                                \
            (!__builtin_isfinite(y) || y == 0))                               \
            errno = ERANGE;                                                   \
        return y;                                                             \
    }                                                                         \
    WEAK type modf##s(type x, type *integer)                                  \
    {                                                                         \
        *integer = (type)whole(x);                                            \
        type rest = __builtin_isinf(x) ? 0 : x - *integer;                    \
        return copysign##s(rest, x);                                          \
    }                                                                         \
    WEAK type copysign##s(type x, type sign)                                  \
    {                                                                         \
        return __builtin_copysign##s(x, sign);                                \
    }                                                                         \
    WEAK int isnan##s(type x) { return __builtin_isnan(x); }                  \
    WEAK int isinf##s(type x) { return __builtin_isinf_sign(x); }             \
    WEAK int finite##s(type x) { return __builtin_isfinite(x); }              \
    WEAK int __signbit##s(type x) { return __builtin_signbit(x); }            \
    WEAK type nan##s(const char *tag)                                         \
    {                                                                         \
        (void)tag;                                                            \
        return __builtin_nan##s("");                                          \
    }                                                                         \
    ALSO(frexp##s)                                                            \
    ALSO(scalbn##s)                                                           \
    ALSO(ldexp##s)                                                            \
    ALSO(modf##s)                                                             \
    ALSO(copysign##s)                                                         \
    ALSO(isnan##s)                                                            \
    ALSO(isinf##s)                                                            \
    ALSO(finite##s)

#undef isnan
#undef isinf
int isnan(double x);
int isnanf(float x);
int isnanl(long double x);
int isinf(double x);
int isinff(float x);
int isinfl(long double x);
int finite(double x);
int finitef(float x);
int finitel(long double x);
int __signbit(double x);
int __signbitf(float x);
int __signbitl(long double x);

FUNCTIONS(double, )
FUNCTIONS(float, f)
FUNCTIONS(long double, l)
