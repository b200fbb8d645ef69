"""Functions: their signatures, and those of Python that guests call."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyperlight._binding import core
from hyperlight.errors import GuestAborted

__all__ = ["GuestFunction", "HostFunction", "parse_signature"]

_NAME = r"[A-Za-z_][A-Za-z0-9_.]{0,127}"
_SIGNATURE = re.compile(rf"({_NAME})\(([a-z0-9, ]*)\) -> ([a-z0-9]+)")
_CODES = {name: code for code, name in enumerate(core.TYPES)}
_MOST_ARGUMENTS = 64


@dataclass(frozen=True)
class GuestFunction:
    """A function that a guest exports."""

    name: str
    #: Such as ``Add(int32, int32) -> int32``.
    signature: str
    #: Codes of the arguments' types.
    arguments: bytes
    #: Code of the result's type.
    result: int
    #: The name, as every call begins.
    encoded: bytes


def parse_signature(text: str) -> GuestFunction:
    """What a guest says of a function of its.

    Raises:
        GuestAborted: It is no signature.
    """
    match = _SIGNATURE.fullmatch(text)
    if match is None:
        raise GuestAborted(f"the guest exports {text[:80]!r}: no signature")
    name, inside, result = match.groups()
    names = inside.split(", ") if inside else []
    if len(names) > _MOST_ARGUMENTS:
        raise GuestAborted(f"the guest's {name} takes too many arguments")
    for kind in (*names, result):
        if kind not in _CODES or (kind == "none" and kind is not result):
            raise GuestAborted(
                f"the guest exports {text[:80]!r}: {kind!r} is no type; "
                f"types are {', '.join(core.TYPES)}"
            )
    return GuestFunction(
        name,
        text,
        bytes(_CODES[kind] for kind in names),
        _CODES[result],
        core.encoded_name(name),
    )


class HostFunction:
    """A function of Python that a guest may call.

    Args:
        name: As the guest calls it.
        function: Its annotations say what it takes: ``int``, ``float``,
            ``bool``, ``str``, ``bytes``, or nothing for whatever comes.

    Raises:
        TypeError: It cannot be called, or has annotations or parameters that
            a guest cannot serve.
        ValueError: `name` is no name.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name={name!r} is not a str")
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                f"name={name!r}: must be letters, digits, '_' and '.', and "
                f"not begin with a digit"
            )
        if not callable(function):
            raise TypeError(f"function={function!r} cannot be called")
        self.name = name
        self.function = function
        self._types, self._least, self._most = _parameters(name, function)

    def complaint(self, values: Sequence[object]) -> str | None:
        """What is wrong with these arguments, or None."""
        if not self._least <= len(values) <= self._most:
            count = str(self._least)
            if self._most > self._least:
                count += f" to {self._most}"
            return f"{self.name} takes {count} arguments, not {len(values)}"
        for i, (value, wanted) in enumerate(
            zip(values, self._types, strict=False), 1
        ):
            if wanted is not None and type(value) is not wanted:
                return (
                    f"argument {i} of {self.name} is a "
                    f"{type(value).__name__}, and {wanted.__name__} is needed"
                )
        return None


def _parameters(
    name: str, function: Callable[..., Any]
) -> tuple[list[type | None], int, int]:
    """Types by position (None: any), and the least and most of them."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some builtins say nothing
        return [], 0, _MOST_ARGUMENTS
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # whatever evaluating annotations raises
        hints = {}
    types: list[type | None] = []
    least = most = 0
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = _MOST_ARGUMENTS
            continue
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.KEYWORD_ONLY and required:
            raise TypeError(
                f"{name}: a guest cannot give keyword argument "
                f"{parameter.name!r}"
            )
        if parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            hint = hints.get(parameter.name, parameter.annotation)
            types.append(_wanted(name, parameter.name, hint))
            least += required
            most = max(most, len(types))
    return types, least, most


def _wanted(name: str, parameter: str, hint: Any) -> type | None:
    if hint in (int, float, bool, str, bytes):
        return typing.cast("type", hint)
    if hint in (inspect.Parameter.empty, Any, object):
        return None
    raise TypeError(
        f"{name}: parameter {parameter!r} is annotated {hint!r}, and guests "
        f"give int, float, bool, str or bytes"
    )
