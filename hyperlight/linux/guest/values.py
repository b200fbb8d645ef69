"""Plain values as bytes: what host and guest tell each other.

Both sides run this file, on any CPython from 3.10 on, with nothing else at
hand. What a guest sends is hostile: :func:`decode` runs no code that the data
chooses, and its memory and time are proportional to the length of the data.

A value is a tag of one byte and what follows it. All numbers are
little-endian, ``u32`` is an unsigned number of 32 bits, ``i64`` a signed one
of 64::

    N                           None
    T  F                        True, False
    i  i64                      int that fits
    I  u32 length, bytes        any other int: two's complement
    d  8 bytes                  float, IEEE 754: a NaN keeps its bits
    s  u32 length, bytes        str: UTF-8, lone surrogates as if they were
                                characters
    b  u32 length, bytes        bytes
    l  u32 count, values        list
    t  u32 count, values        tuple
    m  u32 count, pairs         dict: key, value, in its order
    q  u32 count, i64s          list of nothing but ints that fit
    f  u32 count, 8 bytes each  list of nothing but floats

Containers nest up to 64 deep. A value costs at least a byte, and a container
five, so that reading takes less than 64 times the memory of the data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

__all__ = ["DEEPEST", "Plain", "decode", "encode"]

#: What crosses; mypy's recursive aliases would reach into every caller.
Plain = Any

#: How deep containers may nest.
DEEPEST = 64

#: A dict may have this many keys with one hash. Ints and floats hash to what
#: their sender chooses, and equal hashes make a dict quadratic.
_SAME_HASHES = 64

_LARGEST = (1 << 32) - 1
_MIN, _MAX = -(1 << 63), (1 << 63) - 1
#: From so many elements on, a look at every type pays.
_PACKED_FROM = 8

_i64 = struct.Struct("<cq")
_f64 = struct.Struct("<cd")
_u32 = struct.Struct("<cI")
_INT, _FLOAT, _COUNT = struct.Struct("<q"), struct.Struct("<d"), "<I"
_length = struct.Struct(_COUNT)


class _Writer:
    """Collects the pieces of one value."""

    __slots__ = ("left", "pieces", "within")

    def __init__(self, limit: int) -> None:
        self.pieces: list[bytes] = []
        self.left = limit
        #: Containers around what is being written, and the key in each.
        self.within: list[tuple[object, object]] = []

    def put(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.left -= len(piece)
        if self.left < 0:
            raise OverflowError
        self.pieces += pieces

    def write(self, value: Plain) -> None:
        writer = _WRITERS.get(type(value))
        if writer is None:
            # The type's own name, whatever its metaclass says.
            name = type.__dict__["__name__"].__get__(type(value))
            raise TypeError(f"is of type {name}, which is no plain value")
        writer(self, value)

    def sized(self, tag: bytes, data: bytes) -> None:
        self.put(_u32.pack(tag, _counted(data)), data)

    def put_none(self, _: None) -> None:
        self.put(b"N")

    def put_bool(self, value: bool) -> None:
        self.put(b"T" if value else b"F")

    def put_int(self, value: int) -> None:
        if _MIN <= value <= _MAX:
            self.put(_i64.pack(b"i", value))
        else:
            size = value.bit_length() // 8 + 1
            self.sized(b"I", value.to_bytes(size, "little", signed=True))

    def put_float(self, value: float) -> None:
        self.put(_f64.pack(b"d", value))

    def put_str(self, value: str) -> None:
        self.sized(b"s", value.encode("utf-8", "surrogatepass"))

    def put_bytes(self, value: bytes) -> None:
        self.sized(b"b", value)

    def put_list(self, value: list[Plain]) -> None:
        if len(value) >= _PACKED_FROM and self.packed(value):
            return
        self.items(b"l", value)

    def put_tuple(self, value: tuple[Plain, ...]) -> None:
        self.items(b"t", value)

    def packed(self, value: list[Plain]) -> bool:
        """Write a list of one kind of number at once, if it is one."""
        kinds = set(map(type, value))
        if kinds == {float}:
            tag, code = b"f", "d"
        elif kinds == {int}:
            tag, code = b"q", "q"
        else:
            return False
        if 8 * len(value) > self.left:
            raise OverflowError
        try:
            data = struct.pack(f"<{len(value)}{code}", *value)
        except struct.error:  # an int of more than 64 bits
            return False
        self.put(_u32.pack(tag, _counted(value)), data)
        return True

    def items(
        self, tag: bytes, value: list[Plain] | tuple[Plain, ...]
    ) -> None:
        self.enter(value)
        self.put(_u32.pack(tag, _counted(value)))
        for at, item in enumerate(value):
            self.within[-1] = (value, at)
            self.write(item)
        self.within.pop()

    def put_dict(self, value: dict[Plain, Plain]) -> None:
        self.enter(value)
        self.put(_u32.pack(b"m", _counted(value)))
        for key, item in value.items():
            self.within[-1] = (value, _KEY)
            self.write(key)
            self.within[-1] = (value, key)
            self.write(item)
        self.within.pop()

    def enter(self, value: object) -> None:
        if len(self.within) == DEEPEST:
            if any(value is around for around, _ in self.within):
                raise TypeError("contains itself")
            raise ValueError(f"is nested more than {DEEPEST} deep")
        self.within.append((value, _NOWHERE))

    def path(self, name: str) -> str:
        """Where the writer is, as Python would write it: ``name["a"][3]``."""
        for _, key in self.within:
            if key is _KEY:
                return f"a key of {name}"
            if key is not _NOWHERE:
                name += f"[{_shown(key)}]"
        return name


#: Instead of a key: the writer is at a key, or before the first.
_KEY, _NOWHERE = object(), object()


def _counted(value: Any) -> int:
    if len(value) > _LARGEST:
        raise OverflowError
    return len(value)


def _shown(key: Plain) -> str:
    """A key in a path; a long one is cut."""
    if type(key) in (str, bytes):
        return repr(key) if len(key) <= 40 else f"{key[:40]!r}..."
    if type(key) is tuple or (type(key) is int and key.bit_length() > 256):
        return "..."
    return repr(key)


_WRITERS: dict[type, Callable[[_Writer, Any], None]] = {
    type(None): _Writer.put_none,
    bool: _Writer.put_bool,
    int: _Writer.put_int,
    float: _Writer.put_float,
    str: _Writer.put_str,
    bytes: _Writer.put_bytes,
    list: _Writer.put_list,
    tuple: _Writer.put_tuple,
    dict: _Writer.put_dict,
}


def encode(value: Plain, name: str = "value", limit: int = _LARGEST) -> bytes:
    r"""The bytes of a plain value.

    Args:
        value: None, or exactly of the types bool, int, float, str, bytes,
            list, tuple, dict, all through. An instance of a subclass is not.
        name: What errors call it.
        limit: How many bytes it may take.

    Raises:
        TypeError: Something in it is of another type, or it contains itself;
            the text says where.
        ValueError: It takes too many bytes, or nests too deep.

    >>> encode([True, "a"])
    b'l\x02\x00\x00\x00Ts\x01\x00\x00\x00a'
    >>> encode({"a": [1, 2, object()]})
    Traceback (most recent call last):
    TypeError: value['a'][2] is of type object, which is no plain value
    """
    writer = _Writer(limit)
    try:
        writer.write(value)
    except TypeError as error:
        raise TypeError(f"{writer.path(name)} {error}") from None
    except ValueError as error:
        raise ValueError(f"{writer.path(name)} {error}") from None
    except OverflowError:
        raise ValueError(
            f"{name} takes more than {limit} bytes as a message"
        ) from None
    return b"".join(writer.pieces)


class _Reader:
    """Reads values from data that anyone may have made."""

    __slots__ = ("at", "data", "depth")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.depth = 0

    def take(self, size: int) -> bytes:
        """The next bytes, all of them."""
        end = self.at + size
        if end > len(self.data):
            raise ValueError("the data ends too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def count(self, smallest: int) -> int:
        """A count of things that take at least `smallest` bytes each."""
        number: int = _length.unpack(self.take(4))[0]
        if number * smallest > len(self.data) - self.at:
            raise ValueError("the data ends too early")
        return number

    def read(self) -> Plain:
        tag = self.take(1)
        reader = _READERS.get(tag)
        if reader is None:
            raise ValueError(f"{tag!r} at {self.at - 1} is not a tag")
        return reader(self)

    def get_constant(self) -> Plain:
        return _CONSTANTS[self.data[self.at - 1]]

    def get_int(self) -> Plain:
        return _INT.unpack(self.take(8))[0]

    def get_large(self) -> Plain:
        data = self.take(self.count(1))
        return int.from_bytes(data, "little", signed=True)

    def get_float(self) -> Plain:
        return _FLOAT.unpack(self.take(8))[0]

    def get_str(self) -> Plain:
        data = self.take(self.count(1))
        return data.decode("utf-8", "surrogatepass")

    def get_bytes(self) -> Plain:
        return self.take(self.count(1))

    def get_ints(self) -> Plain:
        number = self.count(8)
        return list(struct.unpack(f"<{number}q", self.take(8 * number)))

    def get_floats(self) -> Plain:
        number = self.count(8)
        return list(struct.unpack(f"<{number}d", self.take(8 * number)))

    def get_list(self) -> Plain:
        number = self.count(1)
        self.enter()
        items = [self.read() for _ in range(number)]
        self.depth -= 1
        return items

    def get_tuple(self) -> Plain:
        return tuple(self.get_list())

    def get_dict(self) -> Plain:
        number = self.count(2)
        self.enter()
        pairs = []
        for _ in range(number):
            key = self.read()
            pairs.append((key, self.read()))
        self.depth -= 1
        try:
            if number > _SAME_HASHES:
                _refuse_collisions([hash(key) for key, _ in pairs])
            made = dict(pairs)
        except TypeError:
            raise ValueError("a key of a dict cannot be one") from None
        if len(made) != number:
            raise ValueError("a dict has a key twice")
        return made

    def enter(self) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ValueError(f"the data is nested more than {DEEPEST} deep")


def _refuse_collisions(hashes: list[int]) -> None:
    hashes.sort()
    for one, other in zip(hashes, hashes[_SAME_HASHES:], strict=False):
        if one == other:
            raise ValueError("too many keys of a dict have the same hash")


_CONSTANTS: dict[int, Plain] = {
    ord("N"): None,
    ord("T"): True,
    ord("F"): False,
}

_READERS: dict[bytes, Callable[[_Reader], Plain]] = {
    b"N": _Reader.get_constant,
    b"T": _Reader.get_constant,
    b"F": _Reader.get_constant,
    b"i": _Reader.get_int,
    b"I": _Reader.get_large,
    b"d": _Reader.get_float,
    b"s": _Reader.get_str,
    b"b": _Reader.get_bytes,
    b"l": _Reader.get_list,
    b"t": _Reader.get_tuple,
    b"m": _Reader.get_dict,
    b"q": _Reader.get_ints,
    b"f": _Reader.get_floats,
}


def decode(data: bytes) -> Plain:
    """The value that these bytes are of.

    Raises:
        ValueError: They are not exactly one value. Nothing else is raised,
            whatever they are, except MemoryError.

    >>> decode(encode({1: (2.5, b"x", None)}))
    {1: (2.5, b'x', None)}
    """
    reader = _Reader(data)
    value = reader.read()
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the value")
    return value
