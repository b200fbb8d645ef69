"""Which files a dynamic executable needs, as ld.so would find them.

Nothing is run: headers of ELF files and ``ld.so.cache`` are read. A file that
is damaged is as one that needs nothing: the guest's own ld.so will say so.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Needs", "find_libraries", "needs_of"]

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
#: Where ld.so looks last, as distributions build it.
_DEFAULT = (
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
)


class Needs(NamedTuple):
    """What the header of one ELF file asks for."""

    #: Path of its ld.so; None for a static program or a library.
    interpreter: str | None
    #: Names of libraries.
    needed: tuple[str, ...]
    #: Folders to look in, ``$ORIGIN`` replaced.
    folders: tuple[str, ...]


_NOTHING = Needs(None, (), ())


def needs_of(path: str) -> Needs:
    """What an ELF file for x86-64 needs; nothing if it is another file."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < 64:
                return _NOTHING
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                return _parsed(data, os.path.dirname(path))
    except (OSError, struct.error, ValueError):
        return _NOTHING


def _parsed(data: mmap.mmap, origin: str) -> Needs:
    if data[:6] != b"\x7fELF\2\1" or data[18:20] != b"\x3e\0":
        return _NOTHING
    (table,) = struct.unpack_from("<Q", data, 32)
    size, number = struct.unpack_from("<HH", data, 54)
    interpreter, dynamic = None, b""
    loads: list[tuple[int, int, int]] = []
    for i in range(number):
        kind, _, offset, address, _, length = struct.unpack_from(
            "<IIQQQQ", data, table + i * size
        )
        if kind == _PT_LOAD:
            loads.append((address, offset, length))
        elif kind == _PT_INTERP:
            interpreter = os.fsdecode(data[offset : offset + length - 1])
        elif kind == _PT_DYNAMIC:
            dynamic = data[offset : offset + length // 16 * 16]
    entries = list(struct.iter_unpack("<qQ", dynamic))
    strings = next((v for tag, v in entries if tag == _DT_STRTAB), 0)
    base = next(
        (
            offset + strings - address
            for address, offset, length in loads
            if address <= strings < address + length
        ),
        None,
    )
    if base is None:
        return Needs(interpreter, (), ())

    def texts(wanted: int) -> list[str]:
        starts = [base + value for tag, value in entries if tag == wanted]
        return [os.fsdecode(data[s : data.find(b"\0", s)]) for s in starts]

    folders = texts(_DT_RUNPATH) or texts(_DT_RPATH)
    return Needs(
        interpreter,
        tuple(texts(_DT_NEEDED)),
        tuple(
            folder.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
            for one in folders
            for folder in one.split(":")
            if folder
        ),
    )


@lru_cache(maxsize=1)
def _cached(_: tuple[int, int]) -> dict[str, list[str]]:
    """``ld.so.cache``: the paths of each name, best first."""
    data = Path(_CACHE).read_bytes()
    start = data.find(_CACHE_MAGIC)
    found: dict[str, list[str]] = {}
    if start < 0:
        return found
    (number,) = struct.unpack_from("<I", data, start + 20)

    def text(offset: int) -> str:
        begin = start + offset
        return os.fsdecode(data[begin : data.index(b"\0", begin)])

    for i in range(number):
        _, name, path, _, hwcap = struct.unpack_from(
            "<iIIIQ", data, start + 48 + 24 * i
        )
        if not hwcap:  # those are for some processors only
            found.setdefault(text(name), []).append(text(path))
    return found


def _from_cache(name: str) -> list[str]:
    try:
        stat = os.stat(_CACHE)
        return _cached((stat.st_mtime_ns, stat.st_size)).get(name, [])
    except (OSError, struct.error, ValueError):
        return []


def _is_library(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return False
    return head[:6] == b"\x7fELF\2\1" and head[18:20] == b"\x3e\0"


def find_libraries(files: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """All libraries that these files need, and those need, and so on.

    Args:
        files: Executables and libraries.

    Returns:
        The path of each by the name it is asked for, and the names of which
        there is no file.
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    left = [(path, needs_of(path)) for path in files]
    while left:
        _, needs = left.pop()
        for name in needs.needed:
            if name in found or name in missing:
                continue
            candidates = [
                name if "/" in name else os.path.join(folder, name)
                for folder in needs.folders
            ]
            candidates += _from_cache(name)
            candidates += [os.path.join(folder, name) for folder in _DEFAULT]
            path = next(filter(_is_library, candidates), None)
            if path is None:
                missing.append(name)
                continue
            found[name] = path
            left.append((path, needs_of(path)))
    return found, missing
