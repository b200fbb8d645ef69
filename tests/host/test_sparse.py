"""Sparse memory: what nobody touched costs neither page tables nor pages."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import require_tracker

import hyperlight

GIB = 1 << 30
MIB = 1 << 20
PAGE = 4096


def kib(field: str) -> int:
    """A number of /proc/self/status, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise AssertionError(field)


@pytest.mark.parametrize("tracker", ["auto", "uffd", "sigsegv"])
def test_page_tables_follow_what_was_touched(tracker: str) -> None:
    if tracker != "auto":
        require_tracker(tracker)
    with hyperlight.SharedMemory(4 * GIB, hugepages=False) as memory:
        memory.write(3 * GIB, b"before")
        before = kib("VmPTE"), kib("VmRSS")
        with hyperlight.SnapshotManager(memory, tracker=tracker) as manager:
            if manager.tracker not in ("uffd", "sigsegv"):
                pytest.skip(f"here auto is {manager.tracker}")
            manager.take()
            memory.write(GIB, b"after")
            manager.restore()
            memory.write(2 * GIB, b"after that")
            manager.take()
            after = kib("VmPTE"), kib("VmRSS")
            assert memory.read(GIB, 5) == bytes(5)
            assert memory.read(3 * GIB, 6) == b"before"
    assert after[0] - before[0] < 1024
    # A bitmap of 4 GiB has 128 KiB, and a restore needs a handful of them.
    assert after[1] - before[1] < 16 * 1024


def test_only_what_was_touched_is_dirty(tracker: str) -> None:
    with (
        hyperlight.SharedMemory(256 * MIB, hugepages=False) as memory,
        hyperlight.SnapshotManager(memory, tracker=tracker) as manager,
    ):
        manager.take()
        for page in (3, 40_000, 40_001, 65_535):
            memory.write(page * PAGE, b"x")
        if tracker != "full":
            assert list(manager.dirty()) == [3, 40_000, 40_001, 65_535]
        manager.restore()
        # Those blocks are armed by marks now, the others still by absence.
        for page in (4, 20_000, 40_002):
            memory.write(page * PAGE, b"y")
        if tracker != "full":
            assert list(manager.dirty()) == [4, 20_000, 40_002]
        manager.restore()
        manager.verify()
        assert not manager.changed(everything=True)
