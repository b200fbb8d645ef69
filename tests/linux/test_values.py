"""Plain values as bytes: exact, bounded, and safe to read from anyone."""

from __future__ import annotations

import contextlib
import math
import struct
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperlight.linux.guest.values import DEEPEST, decode, encode

pytestmark = pytest.mark.unsanitized  # no C runs

texts = st.text(st.characters(exclude_categories=()))
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary()
)
keys = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4
)
values = st.recursive(
    scalars
    | st.lists(st.integers(-(1 << 63), (1 << 63) - 1), min_size=8, max_size=12)
    | st.lists(st.floats(), min_size=8, max_size=12),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(keys, inner, max_size=5)
    ),
    max_leaves=12,
)


def same(one: object, other: object) -> bool:
    """Equal in types, order and bits, NaN's too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    return one == other


@given(values)
def test_what_is_read_is_what_was_written(value: object) -> None:
    assert same(decode(encode(value)), value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueError:
        return
    assert same(decode(encode(value)), value)


@given(values, st.data())
def test_damaged_data_is_a_value_or_an_error(
    value: object, data: st.DataObject
) -> None:
    packed = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(packed) - 1))
        packed[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        decode(bytes(packed))


@settings(deadline=None)
@given(values)
def test_cut_data_is_an_error(value: object) -> None:
    packed = encode(value)
    for end in range(0, len(packed), 1 + len(packed) // 100):
        with pytest.raises(ValueError, match=r"ends too early"):
            decode(packed[:end])


def test_bytes_after_the_value_are_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes follow"):
        decode(encode(1) + b"NN")


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        struct.unpack("<d", b"\1\2\3\4\5\6\xf7\x7f")[0],
        -0.0,
        "\ud800 lone",
        "\0",
        10**5000,
        -(10**5000),
        1 << 63,
        -(1 << 63) - 1,
        [1 << 63] * 9,
        [True] * 9,
        [1.5, 2] * 9,
        {1: {(1, (2, None)): b""}, "a": [], b"": ()},
        {math.nan: 1, None: 2},
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_that_others_lose(value: object) -> None:
    assert same(decode(encode(value)), value)


class Sub(int):
    pass


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "value is of type object"),
        (Sub(3), "value is of type Sub"),
        ([1, 2, Sub(3)], r"value\[2\] is of type Sub"),
        ([1, *range(8), Sub(3)], r"value\[9\] is of type Sub"),
        ({"a": (0, [1, {2}])}, r"value\['a'\]\[1\]\[1\] is of type set"),
        ({None: {b"k": Text("a")}}, r"value\[None\]\[b'k'\] is of type Text"),
        ({"a": {Text("k"): 1}}, r"a key of value\['a'\] is of type Text"),
        ({"a": {(1, Sub(2)): 1}}, r"a key of value\['a'\] is of type Sub"),
        ({10**99: {1j}}, r"value\[\.\.\.\] is of type set"),
        ({"k" * 99: {1j}}, r"value\['k{40}'\.\.\.\] is of type set"),
        ({(1,): [bytearray()]}, r"value\[\.\.\.\]\[0\] is of type bytearray"),
    ],
)
def test_errors_say_where(value: object, where: str) -> None:
    with pytest.raises(TypeError, match=f"^{where}, which is no plain value$"):
        encode(value)


def test_the_metaclass_is_not_asked_for_the_name() -> None:
    class Meta(type):
        __name__ = property(lambda cls: 1 / 0)  # type: ignore[assignment]

    class Odd(metaclass=Meta):
        pass

    with pytest.raises(TypeError, match="value is of type Odd"):
        encode(Odd())


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth() -> None:
    assert decode(encode(nested(DEEPEST))) == nested(DEEPEST)
    with pytest.raises(ValueError, match=r"^v(\[0\]){64} is nested more"):
        encode(nested(DEEPEST + 1), "v")
    deep = b"l\1\0\0\0" * DEEPEST + b"l\0\0\0\0"
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        decode(deep)
    with pytest.raises(ValueError, match="nested more than 64 deep"):
        decode(b"t\1\0\0\0" * 100_000 + b"N")


def test_depth_is_not_used_up_by_what_lies_beside() -> None:
    value = [nested(DEEPEST - 1)] * 3
    assert decode(encode(value)) == value
    assert decode(encode([{1: []}] * 100)) == [{1: []}] * 100


def test_cycles() -> None:
    ring: list[object] = [1]
    ring.append({"a": ring})
    with pytest.raises(TypeError, match=r"^value(\[1\]\['a'\]){32} contains"):
        encode(ring)


def test_shared_values_do_not_explode() -> None:
    value: object = "x"
    for _ in range(50):
        value = [value, value]
    with pytest.raises(ValueError, match="takes more than 10000 bytes"):
        encode(value, limit=10_000)


@pytest.mark.parametrize(
    "value",
    [b"x" * 100, "x" * 100, 1 << 800, [1.5] * 13, [None] * 101],
    ids=lambda value: type(value).__name__,
)
def test_limit(value: object) -> None:
    size = len(encode(value))
    assert len(encode(value, limit=size)) == size
    with pytest.raises(ValueError, match=f"takes more than {size - 1} bytes"):
        encode(value, limit=size - 1)


COUNTED = [b"l", b"t", b"m", b"s", b"b", b"I", b"q", b"f"]


@pytest.mark.parametrize("tag", COUNTED)
def test_counts_are_checked_before_anything_is_allocated(tag: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="ends too early"):
            decode(tag + b"\xff\xff\xff\xff" + b"N" * 100)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 << 10


def packed(tag: bytes, count: int, body: bytes) -> bytes:
    return tag + struct.pack("<I", count) + body


N = 20_000


@pytest.mark.parametrize(
    "data",
    [
        packed(b"l", N, b"l\0\0\0\0" * N),
        packed(b"l", N, b"m\0\0\0\0" * N),
        packed(b"l", N, b"t\1\0\0\0N" * N),
        packed(b"l", N, b"I\1\0\0\0\1" * N),
        packed(b"l", N, b"s\1\0\0\0a" * N),
        packed(b"l", N, b"s\2\0\0\0\xc4\x80" * N),
        packed(b"l", N, b"m\1\0\0\0NN" * N),
        packed(b"l", N, b"N" * N),
        packed(b"q", N, b"\xff\x7f\0\0\0\0\0\0" * N),
        packed(b"f", N, b"\xff\x7f\0\0\0\0\0\0" * N),
        packed(b"m", N, b"".join(encode(i) + b"N" for i in range(N))),
    ],
    ids=[
        "lists", "dicts", "tuples", "ints", "str", "wide str", "small dicts",
        "none", "packed ints", "packed floats", "dict",
    ],
)  # fmt: skip
def test_memory_follows_the_data(data: bytes) -> None:
    tracemalloc.start()
    try:
        decode(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 * len(data)


@pytest.mark.parametrize(
    "key",
    [
        lambda i: encode(i * ((1 << 61) - 1)),
        lambda i: encode(float(i) * float((1 << 61) - 1)),
    ],
    ids=["int", "float"],
)
def test_keys_of_one_hash_are_refused(key: Callable[[int], bytes]) -> None:
    """They would make reading quadratic."""
    body = b"".join(key(i) + b"N" for i in range(1, N + 1))
    begun = time.process_time()
    try:
        decode(packed(b"m", N, body))
    except ValueError as error:
        assert "the same hash" in str(error)
    assert time.process_time() - begun < 2


def test_a_huge_int_takes_no_quadratic_time() -> None:
    value = 1 << (64 << 20)
    begun = time.process_time()
    assert decode(encode(value)) == value
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "too early"),
        (b"x", "not a tag"),
        (b"s\2\0\0\0\xff\xff", "utf-8"),
        (b"m\1\0\0\0l\0\0\0\0N", "cannot be one"),
        (b"m\1\0\0\0t\1\0\0\0m\0\0\0\0N", "cannot be one"),
        (b"m\2\0\0\0NTNF", "twice"),
        (b"m\2\0\0\0TN" + encode(1) + b"N", "twice"),
    ],
)
def test_refused(data: bytes, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        decode(data)
