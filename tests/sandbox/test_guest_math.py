"""The system's math library in guests, and what the SDK has beside it."""

from __future__ import annotations

import math
import random
import struct
from decimal import Decimal, localcontext

import pytest
from built import MARKS, Build, built, need_library, opened

from hyperlight import Sandbox, drivers

__all__ = ["built"]  # a fixture

pytestmark = MARKS

ONE = (
    "acos acosh asin asinh atan atanh ceil cos cosh erf exp exp2 expm1 fabs "
    "floor log log10 log1p log2 sin sinh sqrt tan tanh trunc"
)
TWO = "atan2 copysign fmod hypot nextafter pow remainder"

MATH = r"""
#include <hyperlight.h>
#include <errno.h>
#include <math.h>
#include <string.h>

HL_EXPORT(one, "One(str, double) -> double")
{
    struct hl_view name = hl_arg_str(0);
    static const struct {
        const char *name;
        double (*function)(double x);
    } all[] = {ONE};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (strlen(all[i].name) == name.size &&
            memcmp(all[i].name, name.data, name.size) == 0) {
            errno = 0;
            hl_return_f64(all[i].function(hl_arg_f64(1)));
        }
}

HL_EXPORT(two, "Two(str, double, double) -> double")
{
    struct hl_view name = hl_arg_str(0);
    static const struct {
        const char *name;
        double (*function)(double x, double y);
    } all[] = {TWO};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        if (strlen(all[i].name) == name.size &&
            memcmp(all[i].name, name.data, name.size) == 0) {
            errno = 0;
            hl_return_f64(all[i].function(hl_arg_f64(1), hl_arg_f64(2)));
        }
}

HL_EXPORT(number, "Errno() -> int32") { hl_return_i32(errno); }

static double (*volatile no_number)(const char *) = nan;
static float (*volatile no_numberf)(const char *) = nanf;
static long double (*volatile no_numberl)(const char *) = nanl;

HL_EXPORT(none, "Nan(str) -> bool")
{
    const char *tag = hl_arg_str(0).data;
    hl_return_bool(isnan(no_number(tag)) && isnan(no_numberf(tag)) &&
                   isnan(no_numberl(tag)));
}

/* Through pointers, as the compiler would compute some of it itself. */
static double (*volatile take)(double, int *) = frexp;
static float (*volatile takef)(float, int *) = frexpf;
static long double (*volatile takel)(long double, int *) = frexpl;
static double (*volatile put)(double, int) = ldexp;
static float (*volatile putf)(float, int) = ldexpf;
static long double (*volatile putl)(long double, int) = ldexpl;
static double (*volatile cut)(double, double *) = modf;
static float (*volatile cutf)(float, float *) = modff;
static long double (*volatile cutl)(long double, long double *) = modfl;

HL_EXPORT(fraction, "Fraction(double) -> double")
{
    int exponent;
    hl_return_f64(take(hl_arg_f64(0), &exponent));
}

HL_EXPORT(exponent, "Exponent(double) -> int32")
{
    int exponent;
    take(hl_arg_f64(0), &exponent);
    hl_return_i32(exponent);
}

HL_EXPORT(load, "Load(double, int32) -> double")
{
    errno = 0;
    hl_return_f64(put(hl_arg_f64(0), hl_arg_i32(1)));
}

HL_EXPORT(whole, "Whole(double) -> double")
{
    double whole;
    cut(hl_arg_f64(0), &whole);
    hl_return_f64(whole);
}

HL_EXPORT(rest, "Rest(double) -> double")
{
    double whole;
    hl_return_f64(cut(hl_arg_f64(0), &whole));
}

/* The other types agree: float where it holds the number, and a long double
 * also where nothing else holds it.  0, or the number of what is wrong. */
HL_EXPORT(others, "Others(float) -> int32")
{
    float x = hl_arg_f32(0), wholef;
    double whole;
    long double wholel;
    int e, ef, el;

    if (takef(x, &ef) != take(x, &e) || e != ef)
        hl_return_i32(1);
    else if (takel(x, &el) != take(x, &e) || e != el)
        hl_return_i32(2);
    else if (putf(x, -3) != (float)put(x, -3) || putl(x, -3) != put(x, -3))
        hl_return_i32(3);
    else if (cutf(x, &wholef) != cut(x, &whole) || wholef != whole)
        hl_return_i32(4);
    else if (cutl(x, &wholel) != cut(x, &whole) || wholel != whole)
        hl_return_i32(5);
    else if (putl(putl(1 + x * x, -16420), 16420) != 1 + x * x)
        hl_return_i32(6);
    else if (takel(putl(1.0L, -16440), &el) != 0.5 || el != -16439)
        hl_return_i32(7);
    else if (cutl(0x1p62L + 0.5L, &wholel) != 0.5 || wholel != 0x1p62L)
        hl_return_i32(8);
    else
        hl_return_i32(0);
}
"""


def calculator_on(driver: str, built: Build) -> Sandbox:
    need_library("m", "libc6-dev")
    source = MATH
    for word, names in (("{ONE}", ONE), ("{TWO}", TWO)):
        table = ", ".join(f'{{"{name}", {name}}}' for name in names.split())
        source = source.replace(word, f"{{{table}}}")
    return opened(built(source, "m"), driver)


@pytest.fixture
def calculator(driver: str, built: Build) -> Sandbox:
    return calculator_on(driver, built)


def numbers() -> list[float]:
    chosen = random.Random(5)
    ordinary = [chosen.uniform(-30, 30) for _ in range(40)]
    spread = [math.ldexp(chosen.random(), chosen.randrange(-1080, 1024))
              for _ in range(40)]  # fmt: skip
    edges = [0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, -2.5, 2251799813685249.5]
    return ordinary + spread + edges


def near(mine: float, theirs: float) -> bool:
    """Two units in the last place: processors differ, and C libraries."""
    return mine == theirs or abs(mine - theirs) <= 2 * math.ulp(theirs)


def expected(name: str, *args: float) -> float | None:
    """Python's answer, which raises where C gives an infinity or a NaN."""
    try:
        if name == "exp2":
            return math.pow(2, *args)
        return float(getattr(math, name)(*args))
    except (ValueError, OverflowError):
        return None


def test_the_systems_math_library(calculator: Sandbox) -> None:
    with calculator as sandbox:
        for name in ONE.split():
            for x in numbers():
                theirs = expected(name, x)
                mine = sandbox.call("One", name, x)
                if theirs is None:
                    assert not math.isfinite(mine), (name, x)
                else:
                    assert near(mine, theirs), (name, x, mine, theirs)
        for name in TWO.split():
            for x, y in zip(numbers(), numbers()[::-1], strict=True):
                theirs = expected(name, x, y)
                mine = sandbox.call("Two", name, x, y)
                if theirs is None:
                    assert not math.isfinite(mine), (name, x, y)
                else:
                    assert near(mine, theirs), (name, x, y, mine, theirs)


def test_how_exact_it_is(calculator: Sandbox) -> None:
    """As the documentation says, by sums in 60 digits."""
    chosen = random.Random(6)
    with calculator as sandbox, localcontext() as context:
        context.prec = 60

        def units(mine: float, true: Decimal) -> Decimal:
            return abs(Decimal(mine) - true) / Decimal(math.ulp(mine))

        for _ in range(100):
            x, y = chosen.uniform(1e-3, 30), chosen.uniform(-30, 30)
            a, b = Decimal(x), Decimal(y)
            one, two = "One", "Two"
            assert units(sandbox.call(one, "exp", y), b.exp()) < 1, y
            assert units(sandbox.call(one, "log", x), a.ln()) < 1, x
            assert units(sandbox.call(two, "pow", x, y), a**b) < 1, (x, y)
            assert units(sandbox.call(one, "log10", x), a.log10()) < 2, x
            half = Decimal("0.5")
            assert units(sandbox.call(one, "sqrt", x), a.sqrt()) <= half, x


def test_all_drivers_compute_the_same_bits(built: Build) -> None:
    """Whatever the processor has that the emulator does not."""
    usable = [info.name for info in drivers() if info.available]
    if len(usable) < 2:
        pytest.skip(f"nothing to compare with: {usable}")
    results = set()
    for driver in usable:
        with calculator_on(driver, built) as sandbox:
            values = [
                sandbox.call("One", name, x)
                for name in ONE.split()
                for x in numbers()
            ]
            values += [
                sandbox.call("Two", name, x, y)
                for name in TWO.split()
                for x, y in zip(numbers(), numbers()[::-1], strict=True)
            ]
        results.add(struct.pack(f"{len(values)}d", *values))
    assert len(results) == 1


def test_its_errors_are_in_errno(calculator: Sandbox) -> None:
    """Which it refers to as a thread-local variable."""
    with calculator as sandbox:
        assert math.isnan(sandbox.call("One", "log", -1.0))
        assert sandbox.call("Errno") == 33, "EDOM"
        assert sandbox.call("Two", "pow", 10.0, 400.0) == math.inf
        assert sandbox.call("Errno") == 34, "ERANGE"
        assert sandbox.call("Load", 1.0, 5000) == math.inf
        assert sandbox.call("Errno") == 34
        assert sandbox.call("Load", 1.0, -5000) == 0
        assert sandbox.call("Errno") == 34
        assert sandbox.call("Load", 1.0, 3) == 8
        assert sandbox.call("Errno") == 0


def test_numbers_are_taken_apart(calculator: Sandbox) -> None:
    """By the SDK, as these are not in Linux's math library."""
    with calculator as sandbox:
        for x in [*numbers(), math.inf, -math.inf]:
            fraction, exponent = math.frexp(x)
            rest, whole = math.modf(x)
            assert sandbox.call("Fraction", x) == fraction, x
            if math.isfinite(x):
                assert sandbox.call("Exponent", x) == exponent, x
                for n in (-1074, -30, 0, 7):
                    theirs = expected("ldexp", x, n)
                    mine = sandbox.call("Load", x, n)
                    assert (
                        abs(mine) == math.inf
                        if theirs is None
                        else (mine == theirs)
                    )
            assert sandbox.call("Whole", x) == whole
            assert math.copysign(1, sandbox.call("Whole", x)) == (
                math.copysign(1, whole)
            )
            assert sandbox.call("Rest", x) == rest
            assert math.copysign(1, sandbox.call("Rest", x)) == (
                math.copysign(1, rest)
            )
        assert sandbox.call("Nan", "")
        assert sandbox.call("Nan", "5")
        assert math.isnan(sandbox.call("Fraction", math.nan))
        assert math.isnan(sandbox.call("Rest", math.nan))
        for x in (0.0, -0.0, 1.0, 2.75, -1e10, 3e38, 1e-45, -0.125):
            assert sandbox.call("Others", x) == 0, x


VERSIONS = r"""
#include <hyperlight.h>

static int32_t seven(void) { return 7; }
static int32_t eight(void) { return 8; }
static volatile int wanted = 8;
static int32_t (*choose(void))(void) { return wanted == 8 ? eight : seven; }
__attribute__((ifunc("choose"))) int32_t chosen(void);

static int32_t before;
__attribute__((constructor)) static void early(void) { before = chosen(); }

HL_EXPORT(call, "Call() -> int32") { hl_return_i32(chosen()); }
HL_EXPORT(first, "First() -> int32") { hl_return_i32(before); }
"""


def test_functions_in_several_versions(driver: str, built: Build) -> None:
    """Chosen before constructors run."""
    with opened(built(VERSIONS), driver) as sandbox:
        assert sandbox.call("Call") == 8
        assert sandbox.call("First") == 8
