"""Host functions: what they return."""

from __future__ import annotations

import array
import math
import shutil
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
from test_hostfuncs import SOURCE

from hyperlight import Sandbox, guest

if typing.TYPE_CHECKING:
    pass

New = Callable[..., Sandbox]
Alias = int


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A guest with a function a type: it returns what the host's h does."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("asking")
    (folder / "asking.c").write_text(SOURCE)
    return guest.build(folder / "asking.c", folder / "asking")


class Odd(Exception):
    pass


class Raises:
    def _fail(self, *args: object) -> typing.NoReturn:
        raise Odd

    __index__ = __float__ = __str__ = __repr__ = _fail  # type: ignore[assignment]
    __len__ = __bool__ = __iter__ = _fail  # type: ignore[assignment]


class Int(int):
    def __index__(self) -> int:
        return 2**80

    __int__ = __index__


class Float(float):
    def __float__(self) -> float:
        raise Odd


class Str(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise Odd

    encode = __len__ = __str__  # type: ignore[assignment]


class Indexed:
    def __index__(self) -> int:
        return 5


class Wrong:
    def __index__(self) -> int:
        return "text"  # type: ignore[return-value]

    __float__ = __index__  # type: ignore[assignment]


def released() -> memoryview:
    view = memoryview(b"abcdef")
    view.release()
    return view


def numpy(expression: str) -> object:
    found = pytest.importorskip("numpy")
    return eval(expression, {"np": found})


# By wanted type: what comes of a value, or that it cannot be sent.
REFUSED = object()
RESULTS: list[tuple[str, str, Callable[[], object], object]] = [
    ("str", "lone surrogate", lambda: "a\ud800", REFUSED),
    ("str", "surrogate pair", lambda: "\ud83d\ude00", REFUSED),
    ("str", "int", lambda: 5, REFUSED),
    ("str", "None", lambda: None, REFUSED),
    ("str", "bytes", lambda: b"x", REFUSED),
    ("str", "subclass", lambda: Str("x"), "x"),
    ("str", "huge", lambda: "x" * 100_000, REFUSED),
    ("str", "raises", Raises, REFUSED),
    ("str", "zero bytes", lambda: "\0", "\0"),
    ("bytes", "str", lambda: "x", REFUSED),
    ("bytes", "None", lambda: None, REFUSED),
    ("bytes", "list", lambda: [1, 2], REFUSED),
    ("bytes", "huge", lambda: b"x" * 100_000, REFUSED),
    ("bytes", "stride", lambda: memoryview(b"abcdef")[::2], REFUSED),
    ("bytes", "released", released, REFUSED),
    ("bytes", "generator", lambda: (i for i in range(3)), REFUSED),
    ("bytes", "raises", Raises, REFUSED),
    ("bytes", "bytearray", lambda: bytearray(b"ab"), b"ab"),
    ("bytes", "array", lambda: array.array("H", [1]), b"\1\0"),
    ("bytes", "view", lambda: memoryview(b"abc")[1:], b"bc"),
    ("bytes", "numpy", lambda: numpy("np.arange(2, dtype='u1')"), b"\0\1"),
    ("bytes", "columns", lambda: numpy("np.ones((3, 3))[:, 1]"), REFUSED),
    ("int32", "too large", lambda: 2**40, REFUSED),
    ("int32", "enormous", lambda: 10**5000, REFUSED),
    ("int32", "just too small", lambda: -(2**31) - 1, REFUSED),
    ("int32", "least", lambda: -(2**31), -(2**31)),
    ("int32", "float", lambda: 1.0, REFUSED),
    ("int32", "bool", lambda: True, REFUSED),
    ("int32", "str", lambda: "5", REFUSED),
    ("int32", "None", lambda: None, REFUSED),
    ("int32", "subclass", lambda: Int(7), 7),
    ("int32", "index", Indexed, 5),
    ("int32", "wrong index", Wrong, REFUSED),
    ("int32", "raises", Raises, REFUSED),
    ("int32", "numpy", lambda: numpy("np.int8(-3)"), -3),
    ("uint64", "negative", lambda: -1, REFUSED),
    ("uint64", "most", lambda: 2**64 - 1, 2**64 - 1),
    ("uint64", "over", lambda: 2**64, REFUSED),
    ("uint64", "numpy", lambda: numpy("np.uint64(2**64 - 1)"), 2**64 - 1),
    ("double", "enormous", lambda: 10**400, REFUSED),
    ("double", "str", lambda: "1", REFUSED),
    ("double", "bool", lambda: True, REFUSED),
    ("double", "None", lambda: None, REFUSED),
    ("double", "int", lambda: 5, 5.0),
    ("double", "subclass", lambda: Float(2.5), 2.5),
    ("double", "infinity", lambda: -math.inf, -math.inf),
    ("double", "wrong", Wrong, REFUSED),
    ("double", "raises", Raises, REFUSED),
    ("double", "numpy", lambda: numpy("np.float32(0.5)"), 0.5),
    ("float", "too large", lambda: 1e300, REFUSED),
    ("float", "infinity", lambda: math.inf, math.inf),
    ("bool", "int", lambda: 1, REFUSED),
    ("bool", "None", lambda: None, REFUSED),
    ("bool", "raises", Raises, REFUSED),
    ("bool", "numpy", lambda: numpy("np.bool_(True)"), REFUSED),
    ("bool", "False", lambda: False, False),
    ("none", "None", lambda: None, None),
    ("none", "anything", Raises, None),
    ("none", "text", lambda: "\ud800", None),
]


@pytest.mark.parametrize(
    ("wanted", "make", "comes"),
    [(wanted, make, comes) for wanted, _, make, comes in RESULTS],
    ids=[f"{wanted}, {what}" for wanted, what, _, _ in RESULTS],
)
def test_results(
    new_sandbox: New,
    asking: Path,
    wanted: str,
    make: Callable[[], object],
    comes: object,
) -> None:
    """One that cannot be sent is an error in our words, and nothing else."""
    result = make()
    answers = iter([result])
    sandbox = new_sandbox(asking, {"h": lambda: next(answers, "on")})
    if comes is not REFUSED:
        got = sandbox.call(wanted)
        assert got == comes
        assert type(got) is type(comes)
    else:
        # What a value's own methods raise is the host function's failure.
        with pytest.raises((TypeError, ValueError, Odd)) as caught:
            sandbox.call(wanted)
        if caught.type is not Odd:
            text = str(caught.value)
            assert "host function 'h' returned" in text
            assert f"the guest expects {wanted}" in text
            assert len(text) < 400
            assert caught.type in (TypeError, ValueError)
    assert not sandbox.poisoned
    assert sandbox.call("str") == "on"
