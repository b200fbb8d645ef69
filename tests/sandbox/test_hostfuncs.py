"""Host functions: what they take, what may be one, what they may return."""

from __future__ import annotations

import asyncio
import functools
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any
from unittest import mock

import pytest

from hyperlight import Sandbox
from hyperlight.sandbox.functions import HostFunction

if typing.TYPE_CHECKING:
    import numpy as np

New = Callable[..., Sandbox]
Alias = int


def accepts(function: Callable[..., Any], *values: object) -> bool:
    return HostFunction("f", function).complaint(values) is None


# Annotations.  Those of this file are text, by the import above.


def result_is_unknown(x: int) -> np.ndarray:
    raise AssertionError


def unknown_and_known(x: int, y: np.ndarray) -> int:
    raise AssertionError


def test_the_result_s_annotation_does_not_matter() -> None:
    assert accepts(result_is_unknown, 1)
    assert not accepts(result_is_unknown, "text")


def test_one_that_cannot_be_evaluated_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"'y' is annotated 'np.ndarray'.*np"):
        HostFunction("f", unknown_and_known)


def test_local_and_quoted_names() -> None:
    def quoted(x: "int", y: Alias) -> None:  # noqa: UP037
        raise AssertionError

    def marked(x: Annotated[int, "pages"], y: typing.Any, z: object) -> None:
        raise AssertionError

    assert accepts(quoted, 1, 2)
    assert not accepts(quoted, "1", 2)
    assert not accepts(quoted, 1, "2")
    assert accepts(marked, 1, "any", None)
    assert not accepts(marked, "1", 1, 1)


def test_a_type_that_equals_int_is_not_int() -> None:
    """A dtype of numpy compares equal to ``int``."""

    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = object.__hash__

    def function(x: object) -> None:
        raise AssertionError

    function.__annotations__["x"] = Equal()
    with pytest.raises(TypeError, match="'x' is annotated"):
        HostFunction("f", function)


@pytest.mark.parametrize(
    "hint", ["list[int]", "int | None", "None", "Callable", "5", "1 / 0", "("]
)
def test_other_annotations_are_refused(hint: str) -> None:
    def function(x: object) -> None:
        raise AssertionError

    function.__annotations__["x"] = hint
    with pytest.raises(TypeError, match="'x' is annotated"):
        HostFunction("f", function)


def test_the_rest_is_checked_as_well() -> None:
    def function(x: str, *rest: int) -> None:
        raise AssertionError

    assert accepts(function, "x", 1, 2, 3)
    assert not accepts(function, "x", 1, "2", 3)
    assert not accepts(function, 1)
    assert not accepts(function)


def test_keywords_cannot_be_given() -> None:
    assert accepts(lambda *, k=1: 0)
    assert not accepts(lambda *, k=1: 0, 1)
    assert accepts(lambda x, **rest: 0, 1)
    with pytest.raises(TypeError, match="keyword argument 'k'"):
        HostFunction("f", lambda *, k: 0)


@pytest.mark.parametrize(
    ("function", "values", "says"),
    [
        (lambda: 0, (1,), "f takes 0 arguments, not 1"),
        (lambda a: 0, (), "f takes 1 argument, not 0"),
        (lambda a, b=0: 0, (), "f takes 1 to 2 arguments, not 0"),
        (lambda a, b: 0, (1,), "f takes 2 arguments, not 1"),
    ],
)
def test_wrong_numbers_of_arguments(
    function: Callable[..., Any], values: tuple[object, ...], says: str
) -> None:
    assert HostFunction("f", function).complaint(values) == says


def test_a_bool_is_no_int() -> None:
    def function(x: int) -> None:
        raise AssertionError

    complaint = HostFunction("f", function).complaint([True])
    assert complaint == "argument 1 of f is of type bool, not int"


# What can be a host function.


class CallableObject:
    def __call__(self, x: int, y: str = "") -> int:
        return 1


class Methods:
    def method(self, x: int, y: str = "") -> int:
        return 1

    @classmethod
    def of_class(cls, x: int, y: str = "") -> int:
        return 1

    @staticmethod
    def static(x: int, y: str = "") -> int:
        return 1


class Made:
    def __init__(self, x: int, y: str = "") -> None:
        raise AssertionError


class MadeByNew:
    def __new__(cls, x: int, y: str = "") -> MadeByNew:
        raise AssertionError


def plain(x: int, y: str = "") -> int:
    return 1


def three(first: bytes, x: int, y: str = "") -> int:
    return 1


@functools.wraps(plain)
def wrapped(*args: Any) -> int:
    return plain(*args)


KINDS = {
    "function": plain,
    "lambda around": functools.wraps(plain)(lambda *a: plain(*a)),
    "wrapped": wrapped,
    "cached": functools.lru_cache(plain),
    "partial": functools.partial(three, b""),
    "partial of wrapped": functools.partial(functools.partial(three, b"")),
    "callable": CallableObject(),
    "partial of callable": functools.partial(CallableObject()),
    "method": Methods().method,
    "class method": Methods.of_class,
    "static method": Methods.static,
    "staticmethod object": Methods.__dict__["static"],
    "bound": types.MethodType(three, b""),
    "bound call": CallableObject().__call__,
    "class": Made,
    "class with __new__": MadeByNew,
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_can_be_called(kind: str) -> None:
    function = KINDS[kind]
    assert accepts(function, 1)
    assert accepts(function, 1, "text")
    assert not accepts(function, 1, 2)
    assert not accepts(function, "text")
    assert not accepts(function)
    assert not accepts(function, 1, "text", 3)


@pytest.mark.parametrize("function", [print, len, int, "x".upper, mock.Mock()])
def test_builtins_take_what_they_take(function: Callable[..., Any]) -> None:
    HostFunction("f", function)


def test_names_are_those_of_the_wrapped_function() -> None:
    """A decorator of another module knows none of this one's."""
    names: dict[str, Any] = {"functools": functools}
    exec(
        "def deco(f):\n"
        "    @functools.wraps(f)\n"
        "    def wrapper(*args): return f(*args)\n"
        "    return wrapper\n",
        names,
    )

    def function(x: Alias) -> None:
        raise AssertionError

    assert accepts(names["deco"](function), 1)
    assert not accepts(names["deco"](function), "1")
    assert accepts(functools.partial(names["deco"](function)), 1)


def test_a_circle_of_wrappers_ends() -> None:
    class Circle:
        def __call__(self, x: int) -> None:
            raise AssertionError

    circle = Circle()
    circle.__wrapped__ = circle  # type: ignore[attr-defined]
    HostFunction("f", circle)


async def coroutine(x: int) -> int:
    return x


async def async_generator(x: int) -> AsyncIterator[int]:
    yield x


def generator(x: int) -> Iterator[int]:
    yield x


class AsyncObject:
    async def __call__(self, x: int) -> int:
        return x

    async def method(self, x: int) -> int:
        return x

    @staticmethod
    async def static(x: int) -> int:
        return x


class AsyncStatic:
    @staticmethod
    async def __call__(x: int) -> int:
        return x


DEFERRED = {
    "async def": coroutine,
    "async generator": async_generator,
    "generator": generator,
    "partial": functools.partial(coroutine, 1),
    "callable": AsyncObject(),
    "callable, static": AsyncStatic(),
    "partial of callable": functools.partial(AsyncObject(), 1),
    "method": AsyncObject().method,
    "bound call": AsyncObject().__call__,
    "staticmethod object": AsyncObject.__dict__["static"],
    "method bound to a partial": types.MethodType(
        functools.partial(coroutine), 1
    ),
}


@pytest.mark.parametrize("kind", DEFERRED)
def test_what_runs_later_is_refused(kind: str) -> None:
    with pytest.raises(TypeError, match="f: the function is"):
        HostFunction("f", DEFERRED[kind])


def test_a_wrapper_that_waits_will_do() -> None:
    @functools.wraps(coroutine)
    def waits(x: int) -> int:
        return asyncio.run(coroutine(x))

    assert accepts(waits, 1)


def test_not_functions() -> None:
    for thing in (None, 5, "text", object()):
        with pytest.raises(TypeError, match="cannot be called"):
            HostFunction("f", thing)  # type: ignore[arg-type]
    for name in ("", "1", "a b", "a\n", "ä", "a" * 129, ".a"):
        with pytest.raises(ValueError, match="must be"):
            HostFunction(name, print)
    for bad in (None, 5, b"f"):
        with pytest.raises(TypeError, match="is not a str"):
            HostFunction(bad, print)  # type: ignore[arg-type]


def test_a_name_is_taken_once() -> None:
    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return False

        def __hash__(self) -> int:
            return 7

        def __str__(self) -> str:
            return "other"

    assert type(HostFunction(Name("f"), print).name) is str
    assert HostFunction(Name("f"), print).name == "f"


# What they return.


TYPES = {
    "int32": "HL_I32",
    "uint64": "HL_U64",
    "float": "HL_F32",
    "double": "HL_F64",
    "bool": "HL_BOOL",
    "str": "HL_STR",
    "bytes": "HL_BYTES",
    "none": "HL_NONE",
}
SOURCE = "#include <hyperlight.h>\n" + "".join(
    f'HL_EXPORT(f_{name}, "{name}() -> {name}")\n'
    f'{{ hl_return(hl_host_call({code}, "h")); }}\n'
    for name, code in TYPES.items()
)
