"""Nothing leaks: descriptors, mappings, objects, memory."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import new_manager

import hyperlight
from hyperlight import (
    MemoryLayout,
    PageSet,
    Sandbox,
    SharedMemory,
    Snapshot,
    SnapshotManager,
    UninitializedSandbox,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE

# So often, that what leaks a mapping each time stands out from what an
# allocator keeps.
ROUNDS = 50


def usage() -> tuple[int, int]:
    """Open descriptors and mappings of this process."""
    gc.collect()
    maps = Path("/proc/self/maps").read_text().count("\n")
    return len(os.listdir("/proc/self/fd")), maps


def cycle(tracker: str) -> None:
    memory, manager = new_manager(300, tracker)
    with memory, manager:
        memory.fill(0, 200 * PAGE, 1)
        base = manager.take("base")
        memory.fill(PAGE, 100 * PAGE, 2)
        manager.push()
        memory.fill(0, 300 * PAGE, 3)
        manager.take()
        manager.pop()
        manager.restore(base)
        len(manager.dirty() | manager.changed())
        manager.verify()


def test_whole_lives(tracker: str) -> None:
    for _ in range(5):
        cycle(tracker)
    before, counts = usage(), core.counts()
    for _ in range(ROUNDS):
        cycle(tracker)
    fds, maps = usage()
    assert fds == before[0]
    assert maps < before[1] + ROUNDS / 2
    assert core.counts() == counts


def test_take_and_drop_does_not_grow(tracker: str) -> None:
    memory, manager = new_manager(2000, tracker)
    with memory, manager:
        base = manager.take()
        peak = 0
        for i in range(400):
            memory.fill(i * 7 % 1500 * PAGE, 300 * PAGE, i % 255 + 1)
            manager.take()
            manager.restore(base)
            stats = manager.stats
            assert stats["store_pages"] == 0
            peak = max(peak, stats["store_reserved"])
        assert peak <= 300 * PAGE + 2**20
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for i in range(400):
            memory.fill(i * 7 % 1500 * PAGE, 300 * PAGE, i % 255 + 1)
            manager.take()
            manager.restore(base)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss
        assert grown < 8 << 10  # KiB


def refused(call: Callable[[], object]) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011
        call()


def test_errors_do_not_leak() -> None:
    memory, manager = new_manager(10, "full")
    with memory, manager:
        snapshot = manager.take()
        bad_calls: list[Callable[[], object]] = [
            lambda: SharedMemory(2**47),
            lambda: SharedMemory.from_buffer(bytearray(100)),
            lambda: SnapshotManager(memory),
            lambda: SnapshotManager(memory, tracker="uffd"),
            lambda: memory.read(0, 2**40),
            lambda: memory.write(0, bytes(11 * PAGE)),
            lambda: snapshot.read(9, 2**40),
            lambda: PageSet.from_pages(8, range(9)),
            lambda: PageSet.from_bytes(9, b"123"),
            lambda: manager.restore(Snapshot()),
        ]
        for call in bad_calls:
            refused(call)
        before, counts = usage(), core.counts()
        for _ in range(50):
            for call in bad_calls:
                refused(call)
        assert usage()[0] == before[0]
        assert core.counts() == counts


def test_probing_does_not_leak() -> None:
    hyperlight.trackers()
    hyperlight.drivers()
    before = usage()
    for _ in range(ROUNDS):
        hyperlight.trackers()
        hyperlight.drivers()
    fds, maps = usage()
    assert fds == before[0]
    assert maps < before[1] + ROUNDS / 2


def test_every_public_name_is_tested() -> None:
    """A new name must come with a test that uses it."""
    tests = "".join(
        path.read_text() for path in Path(__file__).parent.rglob("*.py")
    )
    for name in hyperlight.__all__:
        assert name in tests, name
    for class_ in (
        *(SharedMemory, SnapshotManager, Snapshot, PageSet),
        *(Sandbox, UninitializedSandbox, MemoryLayout),
    ):
        for name in dir(class_):
            if not name.startswith("_"):
                assert f".{name}" in tests, f"{class_.__name__}.{name}"
