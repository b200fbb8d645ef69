/* What libm has: link a guest that calls these with -l m.  frexp, ldexp, modf,
 * scalbn and copysign are the SDK's own. */
#ifndef HL_GUEST_INCLUDE_MATH_H
#define HL_GUEST_INCLUDE_MATH_H

#define HUGE_VAL __builtin_huge_val()
#define HUGE_VALF __builtin_huge_valf()
#define HUGE_VALL __builtin_huge_vall()
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

#define M_E 2.7182818284590452354
#define M_LN2 0.69314718055994530942
#define M_LN10 2.30258509299404568402
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_SQRT2 1.41421356237309504880

#define FP_NAN 0
#define FP_INFINITE 1
#define FP_ZERO 2
#define FP_SUBNORMAL 3
#define FP_NORMAL 4

#define fpclassify(x)                                                         \
    __builtin_fpclassify(FP_NAN, FP_INFINITE, FP_NORMAL, FP_SUBNORMAL,        \
                         FP_ZERO, x)
#define isfinite(x) __builtin_isfinite(x)
#define isinf(x) __builtin_isinf_sign(x)
#define isnan(x) __builtin_isnan(x)
#define isnormal(x) __builtin_isnormal(x)
#define signbit(x) __builtin_signbit(x)
#define isgreater(x, y) __builtin_isgreater(x, y)
#define isless(x, y) __builtin_isless(x, y)
#define isunordered(x, y) __builtin_isunordered(x, y)

typedef double double_t;
typedef float float_t;

/* The functions of one type; `s` is what their names end with. */
#define HL_MATH_(type, s)                                                     \
    type acos##s(type x);                                                     \
    type acosh##s(type x);                                                    \
    type asin##s(type x);                                                     \
    type asinh##s(type x);                                                    \
    type atan##s(type x);                                                     \
    type atan2##s(type y, type x);                                            \
    type atanh##s(type x);                                                    \
    type cbrt##s(type x);                                                     \
    type ceil##s(type x);                                                     \
    type copysign##s(type x, type sign);                                      \
    type cos##s(type x);                                                      \
    type cosh##s(type x);                                                     \
    type erf##s(type x);                                                      \
    type erfc##s(type x);                                                     \
    type exp##s(type x);                                                      \
    type exp2##s(type x);                                                     \
    type expm1##s(type x);                                                    \
    type fabs##s(type x);                                                     \
    type fdim##s(type x, type y);                                             \
    type floor##s(type x);                                                    \
    type fma##s(type x, type y, type z);                                      \
    type fmax##s(type x, type y);                                             \
    type fmin##s(type x, type y);                                             \
    type fmod##s(type x, type y);                                             \
    type frexp##s(type x, int *exponent);                                     \
    type hypot##s(type x, type y);                                            \
    int ilogb##s(type x);                                                     \
    type ldexp##s(type x, int n);                                             \
    type lgamma##s(type x);                                                   \
    type log##s(type x);                                                      \
    type log10##s(type x);                                                    \
    type log1p##s(type x);                                                    \
    type log2##s(type x);                                                     \
    type logb##s(type x);                                                     \
    long lrint##s(type x);                                                    \
    long long llrint##s(type x);                                              \
    long lround##s(type x);                                                   \
    long long llround##s(type x);                                             \
    type modf##s(type x, type *integer);                                      \
    type nan##s(const char *tag);                                             \
    type nearbyint##s(type x);                                                \
    type nextafter##s(type x, type towards);                                  \
    type pow##s(type x, type y);                                              \
    type remainder##s(type x, type y);                                        \
    type rint##s(type x);                                                     \
    type round##s(type x);                                                    \
    type scalbn##s(type x, int n);                                            \
    type sin##s(type x);                                                      \
    type sinh##s(type x);                                                     \
    type sqrt##s(type x);                                                     \
    type tan##s(type x);                                                      \
    type tanh##s(type x);                                                     \
    type tgamma##s(type x);                                                   \
    type trunc##s(type x);

HL_MATH_(double, )
HL_MATH_(float, f)
HL_MATH_(long double, l)

#undef HL_MATH_

#endif
