"""Sizes in bytes, as numbers and as people write them."""

from __future__ import annotations

import operator
import re
from typing import SupportsIndex, TypeVar

from hyperlight.text import brief

__all__ = ["format_size", "one_of", "parse_size"]

_Choice = TypeVar("_Choice", bound=str)

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
# So few digits that no limit of int() is near.
_SIZE = re.compile(r"\s*(\d{1,40}(?:\.\d{1,40})?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(size: SupportsIndex | str, name: str = "size") -> int:
    """Bytes from a number of them or from text such as ``"64MiB"``.

    Args:
        size: A number of bytes, or a number and one of B, KiB, MiB, GiB, TiB.
        name: What to call it in an error.

    Raises:
        TypeError: It is neither a whole number nor text.
        ValueError: It is not a size, not a whole number of bytes, or not
            positive.
    """
    if isinstance(size, str):
        count = _parse_text(str.__str__(size), name)
    elif isinstance(size, bool):
        raise TypeError(f"{name}={size!r} is not a number of bytes")
    else:
        try:
            count = operator.index(size)
        except TypeError:
            raise TypeError(
                f"{name}={brief(size)} is neither a whole number of bytes nor "
                f'text such as "64MiB"'
            ) from None
    if count <= 0:
        raise ValueError(f"{name}={brief(size)} is not positive")
    return count


def one_of(name: str, value: object, valid: tuple[_Choice, ...]) -> _Choice:
    """The element of `valid` that equals `value`.

    Returns our own object, not one that merely compares equal to it now.

    Raises:
        ValueError: None equals it.
    """
    text = str.__str__(value) if isinstance(value, str) else value
    for choice in valid:
        if type(text) is str and text == choice:
            return choice
    raise ValueError(
        f"{name}={value!r}: valid are {', '.join(map(repr, valid))}"
    )


def _parse_text(text: str, name: str) -> int:
    match = _SIZE.fullmatch(text)
    unit = match and _UNITS.get(match[2] or "B")
    if match is None or unit is None:
        raise ValueError(
            f"{name}={brief(text)} is not a size: write a number and one of "
            f"{', '.join(_UNITS)}"
        )
    whole, _, fraction = match[1].partition(".")
    scale: int = 10 ** len(fraction)
    count, rest = divmod(int(whole + fraction) * unit, scale)
    if rest:
        raise ValueError(
            f"{name}={brief(text)} is not a whole number of bytes"
        )
    return count


def format_size(size: int) -> str:
    """The size with the largest unit that leaves at least one before it.

    >>> format_size(1536), format_size(2**30), format_size(17)
    ('1.5 KiB', '1 GiB', '17 B')
    """
    for unit, scale in reversed(_UNITS.items()):
        if size >= scale:
            return f"{size / scale:.4g} {unit}"
    return f"{size} B"
