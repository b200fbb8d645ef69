"""Sizes as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
