"""Signatures of functions, and Python functions that guests call."""

from __future__ import annotations

import functools
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hyperlight._binding import core
from hyperlight.errors import GuestAborted
from hyperlight.text import brief, count, type_name

__all__ = [
    "GuestFunction",
    "HostFunction",
    "functions_of",
    "parse_signature",
]

#: What a guest's function may give.
Value = int | float | bool | str | bytes | None

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
    """A signature reported by the guest, which may be any text.

    Raises:
        GuestAborted: It is not a signature.
    """
    match = _SIGNATURE.fullmatch(text)
    if match is None:
        raise GuestAborted(
            f"the guest exports {brief(text)}, which is not a signature"
        )
    name, inside, result = match.groups()
    names = inside.split(", ") if inside else []
    if len(names) > _MOST_ARGUMENTS:
        raise GuestAborted(
            f"the guest's {name} takes too many arguments: {len(names)}, but "
            f"at most {_MOST_ARGUMENTS} are allowed"
        )
    for kind in (*names, result):
        if kind not in _CODES or (kind == "none" and kind is not result):
            raise GuestAborted(
                f"the guest exports {brief(text)}: {brief(kind)} is not a "
                f"type; types are {', '.join(core.TYPES)}"
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
        function: Anything that can be called. Annotations of its parameters
            declare their types: ``int``, ``float``, ``bool``, ``str`` or
            ``bytes``; without one, a parameter takes any value. The annotation
            of the result does not matter.

    Raises:
        TypeError: It cannot be called, returns before it has run (``async
            def``, generators), or has annotations or parameters that a guest
            cannot serve.
        ValueError: `name` is not a name.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        if not isinstance(name, str):
            raise TypeError(f"name={brief(name)} is not a str")
        # Exactly a str: a subclass may compare and hash as it likes.
        name = str.__str__(name)
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                f"name={brief(name)}: must be at most 128 letters, digits, "
                f"'_' and '.', and not begin with a digit or '.'"
            )
        if not callable(function):
            raise TypeError(f"function={brief(function)} cannot be called")
        _refuse_deferred(name, function)
        self.name = name
        self.function = function
        self._types, self._rest, self._least, self._most = _parameters(
            name, function
        )

    def complaint(self, values: Sequence[object]) -> str | None:
        """What is wrong with these arguments, or None."""
        if not self._least <= len(values) <= self._most:
            takes = count(self._most, "argument")
            if self._most > self._least:
                takes = f"{self._least} to {takes}"
            return f"{self.name} takes {takes}, not {len(values)}"
        for i, value in enumerate(values):
            named = i < len(self._types)
            wanted = self._types[i] if named else self._rest
            if wanted is not None and type(value) is not wanted:
                return (
                    f"argument {i + 1} of {self.name} is of type "
                    f"{type_name(value)}, not {wanted.__name__}"
                )
        return None


# A chain of wrappers may be a circle.
_DEEPEST = 100


def _refuse_deferred(name: str, function: Any) -> None:
    """Raise TypeError if calling the function would not run it."""
    for _ in range(_DEEPEST):
        for is_one, what in (
            (inspect.iscoroutinefunction, "async def"),
            (inspect.isasyncgenfunction, "an async generator"),
            (inspect.isgeneratorfunction, "a generator"),
        ):
            if is_one(function):
                raise TypeError(
                    f"{name}: the function is {what}: calling it does not run "
                    f"it, and a guest cannot wait for it"
                )
        inner = _called_by(function)
        if inner is None:
            return
        function = inner


def _called_by(function: Any) -> Any:
    """The inner function that a call of this runs, or None."""
    if isinstance(function, functools.partial):
        return function.func
    if isinstance(function, (types.MethodType, staticmethod)):
        return function.__func__
    if isinstance(function, (types.FunctionType, type)):
        return None
    call = inspect.getattr_static(type(function), "__call__", None)
    python = isinstance(call, (types.FunctionType, staticmethod))
    return call if python else None


def _parameters(
    name: str, function: Callable[..., Any]
) -> tuple[list[type | None], type | None, int, int]:
    """Types by position and of the rest (None: any); least and most."""
    try:
        signature = _signature(function)
    except (TypeError, ValueError):  # some builtins say nothing
        return [], None, 0, _MOST_ARGUMENTS
    known: list[type | None] = []
    rest: type | None = None
    least = most = 0
    for parameter in signature.parameters.values():
        required = parameter.default is parameter.empty
        if parameter.kind is parameter.VAR_POSITIONAL:
            most = _MOST_ARGUMENTS
            rest = _wanted(name, parameter, function)
        elif parameter.kind is parameter.KEYWORD_ONLY and required:
            raise TypeError(
                f"{name}: a guest cannot pass keyword argument "
                f"{parameter.name!r}"
            )
        elif parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        ):
            known.append(_wanted(name, parameter, function))
            least += required
            most = max(most, len(known))
    return known, rest, least, most


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    """With annotations as they are, evaluated or not."""
    if sys.version_info >= (3, 14):
        from annotationlib import Format

        # A name that is not there spoils only its own annotation.
        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


_GIVEN: tuple[type, ...] = (int, float, bool, str, bytes)


def _wanted(
    name: str, parameter: inspect.Parameter, function: Any
) -> type | None:
    """The type that a parameter is annotated with; None: any value."""
    hint = parameter.annotation
    if hint is parameter.empty:
        return None
    where = f"{name}: parameter {parameter.name!r} is annotated"
    try:
        hint = _evaluated(hint, function)
    except Exception as error:  # whatever evaluating an annotation raises
        raise TypeError(
            f"{where} {brief(parameter.annotation)}, which cannot be "
            f"evaluated ({error}); guests pass int, float, bool, str or bytes"
        ) from None
    kind = next((kind for kind in _GIVEN if kind is hint), None)
    if kind is not None:
        return typing.cast("type", kind)
    if hint is Any or hint is object:
        return None
    raise TypeError(
        f"{where} {hint!r}, but guests pass int, float, bool, str or bytes"
    )


def _evaluated(hint: Any, function: Any) -> Any:
    """The annotation as a type: text, names ahead, Annotated unpacked."""
    if isinstance(hint, type):
        return hint
    bearer = types.SimpleNamespace(__annotations__={"hint": hint})
    return typing.get_type_hints(bearer, _names_of(function))["hint"]


def _names_of(function: Any) -> dict[str, Any]:
    """The global names where a function was defined."""
    for _ in range(_DEEPEST):
        # As inspect.signature, which looks behind wrappers first.
        inner = getattr(function, "__wrapped__", None) or _called_by(function)
        if inner is None:
            break
        function = inner
    candidates = [function]
    if isinstance(function, type):
        candidates = [getattr(function, n) for n in ("__new__", "__init__")]
    for candidate in candidates:
        names = getattr(candidate, "__globals__", None)
        if isinstance(names, dict):
            return names
    return {}


def functions_of(signatures: list[str]) -> dict[str, GuestFunction]:
    """What a guest exports, by name.

    Raises:
        GuestAborted: Two functions have one name, or a signature is not one.
    """
    found = {f.name: f for f in map(parse_signature, signatures)}
    if len(found) < len(signatures):
        raise GuestAborted("the guest exports two functions of one name")
    return found
