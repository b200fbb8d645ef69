/* Floating-point numbers as decimal digits, all of them exact.
 *
 * A double is m * 2^e.  For e >= 0 that is an integer; for e = -k it is
 * m * 5^k / 10^k, an integer with the point moved.  Either is at most 767
 * digits, computed in limbs of nine digits and then rounded, half to even, to
 * what was asked for. */
#include "format.h"

#include <string.h>

#define LIMB 1000000000u
#define LIMBS 88
#define DIGITS (LIMBS * 9)
/* More digits behind the point than any double has. */
#define MOST_PRECISE 1100

/* 0.DIGITS * 10^point */
struct decimal {
    char digits[DIGITS];
    int count, point;
};

struct big {
    uint32_t limbs[LIMBS]; /* the lowest first */
    int count;
};

static void multiply(struct big *big, uint32_t factor)
{
    uint64_t carry = 0;

    for (int i = 0; i < big->count; i++) {
        carry += (uint64_t)big->limbs[i] * factor;
        big->limbs[i] = (uint32_t)(carry % LIMB);
        carry /= LIMB;
    }
    for (; carry != 0; carry /= LIMB)
        big->limbs[big->count++] = (uint32_t)(carry % LIMB);
}

static void write_digits(struct decimal *decimal, const struct big *big)
{
    decimal->count = 0;
    for (int i = big->count - 1; i >= 0; i--) {
        uint32_t limb = big->limbs[i];
        for (uint32_t unit = LIMB / 10; unit != 0; unit /= 10) {
            char digit = (char)('0' + limb / unit % 10);
            if (digit != '0' || decimal->count != 0)
                decimal->digits[decimal->count++] = digit;
        }
    }
}

/* value is finite and not negative. */
static void expand(struct decimal *decimal, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    int exponent = (int)(bits >> 52);
    uint64_t m = bits & ((UINT64_C(1) << 52) - 1);
    if (exponent != 0)
        m |= UINT64_C(1) << 52;
    int e = (exponent ? exponent : 1) - 1075;

    for (; m != 0 && m % 2 == 0 && e < 0; e++) /* less to multiply */
        m /= 2;
    struct big big = {.count = 2,
                      .limbs = {(uint32_t)(m % LIMB), (uint32_t)(m / LIMB)}};
    for (int left = e; left > 0; left -= 29)
        multiply(&big, 1u << (left < 29 ? left : 29));
    for (int left = m ? -e : 0; left > 0;) {
        uint32_t power = 1;
        for (int i = 0; i < 12 && left > 0; i++, left--)
            power *= 5;
        multiply(&big, power);
    }
    write_digits(decimal, &big);
    decimal->point = m == 0 ? 1 : decimal->count + (e < 0 ? e : 0);
}

/* Round to `keep` digits, of which there may then be fewer: zeros at the end
 * are not kept. */
static void round_to(struct decimal *decimal, int keep)
{
    char *digits = decimal->digits;

    if (keep < 0) {
        decimal->count = 0;
    } else if (keep < decimal->count) {
        bool up = digits[keep] > '5';
        if (digits[keep] == '5') {
            up = keep > 0 && (digits[keep - 1] - '0') % 2 != 0;
            for (int i = keep + 1; i < decimal->count && !up; i++)
                up = digits[i] != '0';
        }
        decimal->count = keep;
        while (up && decimal->count > 0 && digits[decimal->count - 1] == '9')
            decimal->count--;
        if (up && decimal->count > 0) {
            digits[decimal->count - 1]++;
        } else if (up) { /* 999 -> 1000 */
            digits[decimal->count++] = '1';
            decimal->point++;
        }
    }
    while (decimal->count > 0 && digits[decimal->count - 1] == '0')
        decimal->count--;
}

static char digit_at(const struct decimal *decimal, int i)
{
    return i >= 0 && i < decimal->count ? decimal->digits[i] : '0';
}

/* Digits behind the point, and the point if there are any or # was given. */
static char *put_fraction(char *to, const struct decimal *decimal, int from,
                          int precision, bool alternate)
{
    if (precision > 0 || alternate)
        *to++ = '.';
    for (int i = 0; i < precision; i++)
        *to++ = digit_at(decimal, from + i);
    return to;
}

static char *put_fixed(char *to, const struct decimal *decimal, int precision,
                       bool alternate)
{
    if (decimal->count == 0 || decimal->point <= 0)
        *to++ = '0';
    else
        for (int i = 0; i < decimal->point; i++)
            *to++ = digit_at(decimal, i);
    int from = decimal->count == 0 ? 0 : decimal->point;
    return put_fraction(to, decimal, from, precision, alternate);
}

static int exponent_of(const struct decimal *decimal)
{
    return decimal->count == 0 ? 0 : decimal->point - 1;
}

static char *put_exponent(char *to, const struct decimal *decimal,
                          int precision, bool alternate, char letter)
{
    int exponent = exponent_of(decimal);

    *to++ = digit_at(decimal, 0);
    to = put_fraction(to, decimal, 1, precision, alternate);
    *to++ = letter;
    *to++ = exponent < 0 ? '-' : '+';
    exponent = exponent < 0 ? -exponent : exponent;
    if (exponent >= 100)
        *to++ = (char)('0' + exponent / 100);
    *to++ = (char)('0' + exponent / 10 % 10);
    *to++ = (char)('0' + exponent % 10);
    return to;
}

static char *put_shorter(char *to, struct decimal *decimal, int precision,
                         bool alternate, char letter)
{
    int significant = precision ? precision : 1;
    round_to(decimal, significant);
    int exponent = exponent_of(decimal);
    bool fixed = exponent >= -4 && exponent < significant;
    int behind = fixed ? significant - 1 - exponent : significant - 1;

    if (!alternate) { /* no zeros at the end */
        int digits = decimal->count - (fixed ? decimal->point : 1);
        digits = decimal->count == 0 || digits < 0 ? 0 : digits;
        behind = behind < digits ? behind : digits;
    }
    return fixed ? put_fixed(to, decimal, behind, alternate)
                 : put_exponent(to, decimal, behind, alternate, letter);
}

void hl_format_float(struct hl_sink *sink, const struct hl_spec *given,
                     double value, char conversion)
{
    struct hl_spec spec = *given;
    bool capital = conversion < 'a', negative = __builtin_signbit(value) != 0;
    const char *sign = negative     ? "-"
                       : spec.plus  ? "+"
                       : spec.space ? " "
                                    : "";
    if (__builtin_isnan(value) || __builtin_isinf(value)) {
        spec.zero = false;
        const char *word = __builtin_isnan(value) ? (capital ? "NAN" : "nan")
                                                  : (capital ? "INF" : "inf");
        hl_format_number(sink, &spec, sign, word, 3, 0);
        return;
    }
    int precision = spec.precision < 0              ? 6
                    : spec.precision > MOST_PRECISE ? MOST_PRECISE
                                                    : spec.precision;
    char buffer[MOST_PRECISE + 320], *end;
    struct decimal decimal;
    expand(&decimal, negative ? -value : value);
    char letter = capital ? 'E' : 'e';
    switch (capital ? conversion + ('a' - 'A') : conversion) {
    case 'f':
        round_to(&decimal, decimal.point + precision);
        end = put_fixed(buffer, &decimal, precision, spec.alternate);
        break;
    case 'e':
        round_to(&decimal, precision + 1);
        end =
            put_exponent(buffer, &decimal, precision, spec.alternate, letter);
        break;
    default:
        end = put_shorter(buffer, &decimal, precision, spec.alternate, letter);
    }
    hl_format_number(sink, &spec, sign, buffer, (size_t)(end - buffer), 0);
}
