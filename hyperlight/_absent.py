"""Replaces the C core where it is not built: every use says why."""

from __future__ import annotations

import mmap
import operator
import sys
from typing import Any, NoReturn

from hyperlight.errors import DriverUnavailable, TrackerUnavailable

PAGE_SIZE = mmap.PAGESIZE
HUGE_NEVER, HUGE_AUTO, HUGE_ALWAYS = range(3)
# As the core's rows: hyperlight/registry.py.
TRACKERS = (
    ("uffd", None, True, True, False, False),
    ("uffd-sigbus", None, False, True, True, False),
    ("sigsegv", None, False, True, True, True),
    ("softdirty", None, True, True, False, False),
    ("full", None, True, False, False, False),
    ("kvm-ring", "kvm", False, True, False, False),
    ("kvm-log", "kvm", False, True, False, False),
    ("mshv", "mshv", False, True, False, False),
    ("whp", "whp", False, True, False, False),
)
ASKED_FOR, FIRST_CHOICE, NEXT_CHOICE, TOLD = range(4)
CAN_FAIL = False
TYPES = (
    *("none", "int32", "int64", "uint32", "uint64", "float", "double"),
    *("bool", "str", "bytes"),
)
DRIVERS = (
    ("kvm", "/dev/kvm", True, False, False),
    ("mshv", "/dev/mshv", True, False, True, True),
    ("whp", None, True, False, True, True),
    ("emulator", None, False, True, False),
)
REPLY_SIZE = 4096
LEFT_READY, LEFT_HOST_CALL, LEFT_LOG, LEFT_ABORT = range(1, 5)
LEFT_EXCEPTION, LEFT_INTERRUPTED, LEFT_TIMEOUT, LEFT_BROKEN = range(-1, -5, -1)
LEFT_EXITED, LEFT_LIMIT = -5, -6
LEFT_ASKS, LEFT_OUTPUT = -8, -9
LIMIT_NONE, LIMIT_OUTPUT, LIMIT_CALLS = range(3)
END_NONE, END_EXITED, END_SIGNALLED = range(3)
MOST_FILES = 256
PERM_ALL = 15
TREE_ROOT = 1
TREE_FOLDER, TREE_FILE, TREE_LINK = range(1, 4)
EXIT_CALL, EXIT_EXCEPTION, EXIT_SHUTDOWN, EXIT_BAD_ACCESS = range(4)
MESSAGE_CALL, MESSAGE_RESULT, MESSAGE_ERROR = range(1, 4)
MESSAGE_LOG, MESSAGE_FUNCTIONS = range(4, 6)
ERROR_NO_FUNCTION, ERROR_ARGUMENTS, ERROR_HOST = 2, 3, 5
UNION, INTERSECTION, SYMMETRIC_DIFFERENCE, DIFFERENCE = range(4)
ABIS = ("native",)

_REASON = (
    f"not compiled in: needs Linux or Windows, and this is {sys.platform}"
)


def probe_tracker(name: str, driver: str | None = None) -> str | None:
    return _REASON


def why_not_tracked(memory: Any, name: str) -> str | None:
    return _REASON


def candidates(driver: str | None, page_count: int) -> tuple[str, ...]:
    return ()


def probe_driver(name: str) -> str | None:
    return _REASON


def set_emulator_library(path: str) -> None:
    pass


def tables_size(addr: int, regions: Any) -> int:
    return 4096


def call_name(number: int) -> str | None:
    return None


def kernel_size(file_pages: int) -> int:
    return 4096 * (file_pages + 1)


def encoded_name(name: str) -> bytes:
    return name.encode()


def fault_status() -> list[tuple[int, bool, bool]]:
    return []


def reclaim_faults() -> None:
    pass


def counts() -> dict[str, int]:
    return {}


def drop_blank_machines() -> int:
    return 0


def blank_machines() -> int:
    return 0


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


class ImageCore:
    def __init__(self, file: bytes, program: bool = False) -> None:
        raise DriverUnavailable("any", _REASON)


class SandboxState(_Absent):
    pass


class SandboxCore(SandboxState):
    pass


class ProgramCore(SandboxState):
    pass


def bits_of_pages(page_count: int, pages: Any) -> bytes:
    bits = bytearray((page_count + 63) // 64 * 8)
    for page in pages:
        number = operator.index(page)
        if not 0 <= number < page_count:
            raise IndexError(
                f"page {number} is not in 0..{page_count - 1}"
                if page_count
                else f"page {number} is not in a set over no pages"
            )
        bits[number // 8] |= 1 << number % 8
    return bytes(bits)


def bits_combine(a: bytes, b: bytes, operation: int) -> bytes:
    x, y = int.from_bytes(a, "little"), int.from_bytes(b, "little")
    return (x | y, x & y, x ^ y, x & ~y)[operation].to_bytes(len(a), "little")


def followed_by_reclaim(original: Any) -> Any:
    return original


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
