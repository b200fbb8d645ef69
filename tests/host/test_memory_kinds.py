"""Every kind of memory under every tracker: exact, limited or refused.

The table below is what docs/reference/memory-kinds.md shows.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import HERE, TRACKERS, require_tracker, run_python

pytestmark = pytest.mark.any_python

if sys.platform == "win32":
    pytest.skip("the kinds of memory are Linux's", allow_module_level=True)
else:
    import fcntl

COLUMNS = (*TRACKERS, "auto")

# What a cell promises:
#   exact    whatever its owner does is found, and put back
#   limited  the same, but for pages that are dropped or mapped over: a limit
#            that the docs name, and that `auto` is never (where uffd works)
#   refused  at open, in words
_TRAPS_AND_BITS = ("limited", "limited", "limited", "exact", "exact")
_ANY = ("exact", *_TRAPS_AND_BITS)
_NO_SIGBUS = ("exact", "refused", "limited", "limited", "exact", "exact")
_HUGETLB = ("exact", "refused", "refused", "refused", "exact", "exact")
_NONE = ("refused",) * 6

TABLE: dict[str, tuple[str, ...]] = {
    "private anonymous": _ANY,
    "shared anonymous": _ANY,
    "SharedMemory": _ANY,
    "numpy array": _ANY,
    "memfd, shared": _ANY,
    "memfd, private": _NO_SIGBUS,
    "/dev/shm": _ANY,
    "file, shared": _NO_SIGBUS,
    "file, private": _NO_SIGBUS,
    "hugetlbfs, private": _HUGETLB,
    "hugetlbfs, shared": _HUGETLB,
    "hugetlbfs, memfd": _HUGETLB,
    "hugetlbfs, memfd, private": _HUGETLB,
    "huge pages, private": _ANY,
    "huge pages, shared": _ANY,
    "locked": _ANY,
    "MAP_NORESERVE": _ANY,
    "stack-growing": _ANY,
    "read-only": _NONE,
    "write-only": _NONE,
    "truncated": _ANY,
    "block of malloc's in the heap": _ANY,
    "the process's own heap": _NONE,
    "the main thread's stack": _NONE,
    "a thread's own stack": _NONE,
    "this library's own data": _NONE,
}

#: What a limited cell may miss.
DROPS = (
    *("MADV_DONTNEED", "MADV_DONTNEED_LOCKED", "MADV_FREE", "MADV_REMOVE"),
    *("truncated", "mremap"),
)
#: What the trackers that need a signal handler refuse with EFAULT.
TRAPS = ("uffd-sigbus", "sigsegv")

REASONS = {
    "hugetlbfs": "hugetlbfs memory",
    "file, shared": "a shared mapping of a file",
    "file, private": "a private mapping of a file",
    "memfd, private": "a private mapping of a file",
    "read-only": "not mapped readable and writable",
    "write-only": "not mapped readable and writable",
    "the process's own heap": "this process's own heap",
    "the main thread's stack": "a stack of this process",
    "a thread's own stack": "a stack of this process",
    "this library's own data": "data of this library",
}

HUGE_PAGES = 8
_SETTING = Path("/proc/sys/vm/nr_hugepages")


@contextlib.contextmanager
def huge_pages() -> Iterator[None]:
    """As many as a row needs, one test process at a time."""
    if not _SETTING.exists():
        pytest.skip("this kernel has no hugetlbfs")
    if os.geteuid() != 0:
        pytest.skip("only root can set vm.nr_hugepages")
    lock = Path(tempfile.gettempdir()) / "hyperlight-test-hugepages.lock"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = int(_SETTING.read_text())
        try:
            _SETTING.write_text(str(before + HUGE_PAGES))
            if int(_SETTING.read_text()) < before + HUGE_PAGES:
                pytest.skip("not enough memory in one piece for huge pages")
            yield
        except PermissionError:
            pytest.skip("vm.nr_hugepages cannot be set here")
        finally:
            with contextlib.suppress(PermissionError):
                _SETTING.write_text(str(before))


@functools.cache
def outcomes(row: str) -> dict[str, list[tuple[str, str]]]:
    """For each tracker, what was tried and how it ended."""
    needs = contextlib.nullcontext()
    with huge_pages() if row.startswith("hugetlbfs") else needs:
        result = run_python("kinds.py", row, *COLUMNS, timeout=120)
    assert result.stderr == "", result.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for line in result.stdout.splitlines():
        if line.startswith("== "):
            lines = found.setdefault(line[3:], [])
        else:
            what, _, how = line.partition(": ")
            lines.append((what, how))
    return found


@pytest.mark.parametrize("row", TABLE)
@pytest.mark.parametrize("column", COLUMNS)
def test_cell(row: str, column: str) -> None:
    promise = TABLE[row][COLUMNS.index(column)]
    if column != "auto":
        require_tracker(column)
    elif promise != "refused":
        require_tracker("uffd")  # elsewhere auto is what there is
    if row == "numpy array":
        pytest.importorskip("numpy")
    found = outcomes(row)[column]
    assert found[-1] == ("status", "0"), found
    what, how = found[0]
    if what == "absent":
        pytest.skip(how)
    if promise == "refused":
        assert what == "refused", found
        reason = next(
            text for name, text in REASONS.items() if row.startswith(name)
        )
        assert reason in how, how
        usable = re.search("usable for this memory: (.*)", how)
        assert not usable or column not in usable[1].split(", "), how
        return
    assert what == "tracker", found
    assert how == (column if column != "auto" else "uffd")
    for what, how in found[1:-1]:
        if what == "system_call" and column in TRAPS:
            assert how == "-", "EFAULT"
        elif promise == "limited" and what in DROPS:
            assert how in ("exact", "missed", "-"), what
        else:
            assert how in ("exact", "-"), what


@pytest.mark.parametrize("column", ["uffd", "full"])
def test_the_operations_were_tried(column: str) -> None:
    """A kernel that refused them all would let every cell pass."""
    require_tracker(column)
    tried = {
        what
        for row in ("private anonymous", "shared anonymous", "truncated")
        for what, how in outcomes(row)[column]
        if how == "exact"
    }
    for what in (
        *("write", "system_call", "MADV_DONTNEED", "MADV_FREE"),
        *("MADV_REMOVE", "MADV_PAGEOUT", "truncated", "mremap"),
    ):
        assert what in tried, what


def test_a_limited_cell_is_one() -> None:
    """Where a limit is gone the table is to say so."""
    found = outcomes("private anonymous")["sigsegv"]
    assert ("MADV_DONTNEED", "missed") in found


@pytest.mark.skipif(
    not (HERE.parent / "docs").exists(),
    reason="the documentation is not beside the tests",
)
def test_the_docs_have_the_same_table() -> None:
    page = HERE.parent / "docs/reference/memory-kinds.md"
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in page.read_text().splitlines()
        if line.startswith("| ")
    ]
    header = rows[0]
    assert header == ["memory", *(f"`{name}`" for name in COLUMNS)]
    shown = {row[0]: tuple(row[1:]) for row in rows[1:] if "---" not in row[0]}
    assert shown == TABLE


def test_every_row_is_made() -> None:
    text = (HERE / "subprocess/kinds.py").read_text()
    assert all(f'"{row}": ' in text for row in TABLE)


def test_part_of_a_huge_page() -> None:
    """It cannot be protected: refused in words, and `auto` takes the next."""
    require_tracker("uffd")
    script = """
import mmap, sys
from hyperlight import SharedMemory, SnapshotManager, TrackerUnavailable
whole = mmap.mmap(-1, 4 << 20, flags=0x40000 | mmap.MAP_ANONYMOUS
                  | mmap.MAP_PRIVATE)
memory = SharedMemory.from_buffer(memoryview(whole)[4096 : 3 << 20])
try:
    SnapshotManager(memory, tracker="uffd")
except TrackerUnavailable as error:
    print(error)
with SnapshotManager(memory) as manager:
    manager.take()
    memory.write(5000, b"x")
    manager.restore()
    print(manager.tracker, memory.read(5000, 1))
"""
    with huge_pages():
        result = run_python(script)
    assert result.returncode == 0, result
    refusal, taken = result.stdout.splitlines()
    assert "whole huge pages of 2097152 bytes" in refusal
    assert taken == "full b'\\x00'"


def test_several_kinds_in_one() -> None:
    """A private mapping with shared memory in its middle, dropped there."""
    require_tracker("uffd")
    script = """
import ctypes, mmap
from hyperlight import SharedMemory, SnapshotManager
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
P = mmap.PAGESIZE
memory = SharedMemory(12 * P)
middle = memory.address + 4 * P
flags = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x10
assert libc.mmap(ctypes.c_void_p(middle), ctypes.c_size_t(4 * P), 3, flags,
                 -1, ctypes.c_long(0)) == middle
with SnapshotManager(memory, rearm="always") as manager:
    memory.fill(0, memory.size, 7)
    manager.take()
    for page, advice in ((0, 4), (5, 9), (11, 4)):
        assert libc.madvise(memory.address + page * P, P, advice) == 0
        assert memory.read(page * P, 1) == bytes(1)
    print(manager.tracker, {0, 5, 11} <= set(manager.dirty()))
    manager.restore()
    print(memory.read(0, memory.size) == bytes([7]) * memory.size)
"""
    result = run_python(script)
    assert result.stdout == "uffd True\nTrue\n", result
