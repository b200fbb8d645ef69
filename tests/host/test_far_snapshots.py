"""Restores of snapshots that differ in many pages from the current one."""

from __future__ import annotations

import random

import pytest
from conftest import require_tracker

from hyperlight import SharedMemory, Snapshot, SnapshotManager
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


@pytest.fixture(params=["uffd", "uffd-sigbus", "sigsegv"])
def armed(request: pytest.FixtureRequest) -> str:
    """A tracker for which un-arming and arming cost something."""
    return require_tracker(request.param)


def _write(memory: SharedMemory, pages: range | list[int], byte: int) -> None:
    view = memoryview(memory)
    for page in pages:
        view[page * PAGE + 5] = byte
    view.release()


def _content(memory: SharedMemory) -> bytes:
    return memory.read(0, memory.size)


def _take_far(
    memory: SharedMemory, manager: SnapshotManager, pages: range
) -> tuple[Snapshot, Snapshot, bytes, bytes]:
    """Two snapshots, the first of which is current, and their bytes."""
    memory.fill(0, memory.size, 7)
    near, what_near = manager.take(), _content(memory)
    _write(memory, pages, 8)
    far, what_far = manager.take(), _content(memory)
    manager.restore(near)
    for _ in range(64):  # until nothing of that is left
        if manager.stats["hot_pages"] == 0:
            break
        manager.restore()
    return near, far, what_near, what_far


@pytest.mark.parametrize("before", range(8))
@pytest.mark.parametrize("pages", [16, 24, 130])
def test_far_in_any_epoch(tracker: str, pages: int, before: int) -> None:
    """Also in the one in which all that was cold becomes hot."""
    with (
        SharedMemory(pages * PAGE) as memory,
        SnapshotManager(memory, tracker=tracker) as manager,
    ):
        memory.fill(0, memory.size, 7)
        near, what_near = manager.take(), _content(memory)
        _write(memory, [pages - 2], 8)
        far, what_far = manager.take(), _content(memory)
        for i in range(before):
            _write(memory, range(9), i)
            manager.restore()
        _write(memory, range(9), 99)
        manager.restore(near)
        assert _content(memory) == what_near
        manager.verify()
        manager.restore(far)
        assert _content(memory) == what_far
        manager.verify()


def test_what_is_far_is_not_armed(armed: str) -> None:
    with (
        SharedMemory(1024 * PAGE) as memory,
        SnapshotManager(memory, tracker=armed) as manager,
    ):
        near, far, what_near, what_far = _take_far(
            memory, manager, range(0, 1024, 2)
        )
        widened = manager.stats["pages_widened"]
        assert manager.restore(far).pages_copied == 512
        assert manager.stats["pages_widened"] == widened + 1024
        assert manager.stats["hot_pages"] == 1024
        assert _content(memory) == what_far
        # Written or not, before the next restore or by it: none is missed.
        _write(memory, [1, 2], 99)
        assert set(manager.dirty()) >= {1, 2}
        manager.verify()
        manager.restore()
        assert _content(memory) == what_far
        manager.restore(near)
        assert _content(memory) == what_near


def test_one_far_restore_is_forgotten(armed: str) -> None:
    """What was left unarmed cools down."""
    with (
        SharedMemory(1024 * PAGE) as memory,
        SnapshotManager(memory, tracker=armed) as manager,
    ):
        _near, far, _, what_far = _take_far(memory, manager, range(0, 1024, 2))
        manager.restore(far)
        copied = []
        for i in range(64):
            _write(memory, [3], i)
            copied.append(manager.restore().pages_copied)
        assert copied[-1] <= 64 < copied[0]
        assert _content(memory) == what_far
        manager.verify()


def test_a_near_one_is_armed(armed: str) -> None:
    with (
        SharedMemory(1024 * PAGE) as memory,
        SnapshotManager(memory, tracker=armed) as manager,
    ):
        _near, far, _, what_far = _take_far(memory, manager, range(10, 14))
        assert manager.restore(far).pages_copied == 4
        assert manager.stats["hot_pages"] == 0
        assert _content(memory) == what_far
        assert len(manager.dirty()) == 0


def test_always_means_always() -> None:
    with (
        SharedMemory(256 * PAGE) as memory,
        SnapshotManager(memory, rearm="always") as manager,
    ):
        _near, far, _, what_far = _take_far(memory, manager, range(0, 256, 2))
        manager.restore(far)
        assert manager.stats["pages_widened"] == 0
        assert manager.stats["hot_pages"] == 0
        assert _content(memory) == what_far


def test_random_trees(tracker: str) -> None:
    """Near and far in turn, over some stretches of 2 MiB."""
    source = random.Random(12)
    pages = 1500
    with (
        SharedMemory(pages * PAGE) as memory,
        SnapshotManager(memory, tracker=tracker) as manager,
    ):
        made: list[tuple[Snapshot, bytes]] = []
        for step in range(40):
            first = source.randrange(pages)
            share = source.choice((1, 2, 7, 300))
            _write(memory, range(first, pages, share), step)
            if step % 3 == 0:
                made.append((manager.take(), _content(memory)))
            else:
                snapshot, content = source.choice(made)
                manager.restore(snapshot)
                assert _content(memory) == content
                manager.verify()
