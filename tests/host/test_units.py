"""Sizes, seconds and limits: converted once, then checked."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperlight import SandboxConfig
from hyperlight.sandbox.config import check_timeout, deadline_after
from hyperlight.text import brief
from hyperlight.units import format_size, parse_size

UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


@given(st.integers(1, 10**6), st.sampled_from(list(UNITS)))
def test_every_unit(count: int, unit: str) -> None:
    for text in (f"{count}{unit}", f" {count} {unit} "):
        assert parse_size(text) == count << UNITS[unit]
    assert parse_size(str(count)) == parse_size(count) == count


@pytest.mark.parametrize(
    "text",
    ["1kb", "1 K", "MiB", "1,5MiB", "0x10", "1_000", "٣KiB", "1 MiB 2", "nan"],
)
def test_not_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="KiB"):
        parse_size(text)


def test_names_the_argument() -> None:
    with pytest.raises(ValueError, match="heap='x'"):
        parse_size("x", "heap")
    with pytest.raises(TypeError, match="heap=None"):
        parse_size(None, "heap")  # type: ignore[arg-type]


def test_fractions_are_exact() -> None:
    assert parse_size("0.5KiB") == 512
    with pytest.raises(ValueError, match="whole number"):
        parse_size("0.3KiB")


@given(st.integers(0, 2**50))
def test_format(size: int) -> None:
    text = format_size(size)
    count, unit = text.split()
    assert abs(float(count) * 2 ** UNITS[unit] - size) <= size * 0.001


class Fickle(int):
    """Is one number in a comparison, and another as an index."""

    def __index__(self) -> int:
        return 7 << 60

    def __float__(self) -> float:
        return 2.0**63

    __int__ = __index__

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __eq__ = __ne__ = __lt__  # type: ignore[assignment]
    __hash__ = int.__hash__


class Text(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__

    def __str__(self) -> str:
        return "other"


def test_sizes_may_be_anything() -> None:
    for text in ("9" * 5000, "9" * 5000 + "KiB", "x" * 10**6):
        with pytest.raises(ValueError, match="is not a size") as caught:
            parse_size(text)
        assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="is not positive"):
        parse_size(-(10**5000))
    assert type(parse_size(Fickle(5))) is int
    assert parse_size(Fickle(5)) == 5
    assert parse_size(Text("5KiB")) == 5120


# Seconds.


@pytest.mark.parametrize(
    ("seconds", "comes"),
    [
        (None, None),
        (1, 1.0),
        (0.25, 0.25),
        (1e-12, 1e-12),
        (5e-324, 5e-324),
        (1e300, 1e300),
        (math.inf, math.inf),
        (10**400, math.inf),
        (Fraction(1, 4), 0.25),
        (Fraction(10**500), math.inf),
        (Fickle(3), 2.0**63),
    ],
    ids=brief,
)
def test_seconds(seconds: float | None, comes: float | None) -> None:
    got = check_timeout("timeout", seconds)
    assert got == comes
    assert type(got) is type(comes)
    config = SandboxConfig(call_timeout=seconds)
    assert config.call_timeout == comes
    assert type(config.call_timeout) is type(comes)


@pytest.mark.parametrize(
    "seconds",
    [0, -1, 0.0, -0.0, -1e-9, math.nan, -math.inf, -(10**400), Fraction(0)],
    ids=brief,
)
def test_no_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout=.* is not above 0$"):
        check_timeout("timeout", seconds)
    with pytest.raises(ValueError, match=r"^call_timeout="):
        SandboxConfig(call_timeout=seconds)


@pytest.mark.parametrize(
    "seconds", [True, False, "1", b"1", 1j, Decimal(1), [1], object()]
)
def test_seconds_are_numbers(seconds: float) -> None:
    with pytest.raises(TypeError, match=r"^timeout=.* is neither seconds nor"):
        check_timeout("timeout", seconds)
    with pytest.raises(TypeError, match=r"^call_timeout="):
        SandboxConfig(call_timeout=seconds)


def test_seconds_of_numpy() -> None:
    np = pytest.importorskip("numpy")
    assert check_timeout("timeout", np.float32(0.5)) == 0.5
    assert type(check_timeout("timeout", np.float64(0.5))) is float
    assert check_timeout("timeout", np.int8(2)) == 2.0
    for bad in (np.bool_(True), np.ones(1), np.timedelta64(1, "s")):
        with pytest.raises(TypeError):
            check_timeout("timeout", bad)


def test_deadlines() -> None:
    now = 10**9
    assert deadline_after(None, now) == 0
    assert deadline_after(math.inf, now) == 0
    assert deadline_after(1e300, now) == 0
    assert deadline_after(5e-324, now) == now
    assert deadline_after(1.5, now) == now + 1_500_000_000
    assert 0 < deadline_after(4e9, 2**61) < 2**63


# Limits.


def test_limits_of_logs() -> None:
    config = SandboxConfig()
    assert (config.log_lines, config.log_bytes) == (10_000, 1 << 20)
    config = SandboxConfig(log_lines=0, log_bytes=0)
    assert (config.log_lines, config.log_bytes) == (0, 0)
    config = SandboxConfig(log_lines=Fickle(5), log_bytes="64KiB")
    assert (type(config.log_lines), config.log_lines) == (int, 5)
    assert config.log_bytes == 65536


@pytest.mark.parametrize("name", ["log_lines", "log_bytes"])
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (-1, ValueError),
        (1 << 60, ValueError),
        (10**5000, ValueError),
        (True, TypeError),
        (1.0, TypeError),
        (None, TypeError),
        (b"1", TypeError),
    ],
    ids=brief,
)
def test_no_limits(name: str, value: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=rf"^{name}=") as caught:
        SandboxConfig(**{name: value})  # type: ignore[arg-type]
    assert type(caught.value) is kind


def test_only_bytes_have_units() -> None:
    with pytest.raises(TypeError, match="log_lines='1KiB'"):
        SandboxConfig(log_lines="1KiB")  # type: ignore[arg-type]


class Misfit:
    def __index__(self) -> int:
        raise UnicodeEncodeError("utf-8", "x", 0, 1, "made up")


def test_a_configuration_holds_plain_values() -> None:
    config = SandboxConfig(
        heap_size=Fickle(8192), driver=Text("emulator"), tracker=Text("full")
    )
    assert (type(config.heap_size), config.heap_size) == (int, 8192)
    assert (type(config.driver), config.driver) == (str, "emulator")
    assert str.__str__(config.tracker) == "full"
    for bad in (Text("magic"), None, b"kvm", "x" * 10**6):
        with pytest.raises(ValueError, match="valid are") as caught:
            SandboxConfig(driver=bad)  # type: ignore[arg-type]
        assert len(str(caught.value)) < 300
    with pytest.raises(ValueError, match=r"^heap_size=") as caught:
        SandboxConfig(heap_size=10**5000)
    with pytest.raises(UnicodeEncodeError):
        SandboxConfig(heap_size=Misfit())
