"""Stands in for the C core where it is not built: every use says why."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from hyperlight.errors import TrackerUnavailable

PAGE_SIZE = 4096
HUGE_NEVER, HUGE_AUTO, HUGE_ALWAYS = range(3)
TRACKERS = tuple(
    (name, name in ("uffd", "softdirty", "full"))
    for name in ("uffd", "uffd-sigbus", "sigsegv", "softdirty", "full")
)
CAN_FAIL = False

_REASON = f"not compiled in: needs Linux, and this is {sys.platform}"


def probe_tracker(name: str) -> str | None:
    return _REASON


def fault_status() -> list[tuple[int, bool, bool]]:
    return []


def reclaim_faults() -> None:
    pass


def counts() -> dict[str, int]:
    return {}


def plan_failure(point: str, skip: int = 0, count: int = 1) -> NoReturn:
    raise RuntimeError(_REASON)


class _Absent:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise TrackerUnavailable("any", _REASON)

    @classmethod
    def from_buffer(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise TrackerUnavailable("any", _REASON)


class MemoryCore(_Absent):
    closed = True

    def _map(self, *args: Any) -> NoReturn:
        raise TrackerUnavailable("any", _REASON)

    _borrow = _map


class SnapshotCore(_Absent):
    pass


class ManagerCore(_Absent):
    pass


def bits_of_pages(page_count: int, pages: Any) -> bytes:
    bits = 0
    for page in pages:
        if not 0 <= page < page_count:
            raise IndexError(f"page {page} is not in 0..{page_count - 1}")
        bits |= 1 << page
    return bits.to_bytes((page_count + 63) // 64 * 8, "little")


def bits_count(bits: bytes, page_count: int) -> int:
    return int.from_bytes(bits, "little").bit_count()


def bits_runs(bits: bytes, page_count: int) -> list[tuple[int, int]]:
    number = int.from_bytes(bits, "little")
    found: list[tuple[int, int]] = []
    for page in range(page_count):
        if not number >> page & 1:
            continue
        if found and sum(found[-1]) == page:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((page, 1))
    return found
