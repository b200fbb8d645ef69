"""SnapshotManager: arguments, the stack, overlap, verify, its end."""

from __future__ import annotations

import mmap

import pytest
from conftest import TRACKERS, new_manager

from hyperlight import (
    ManagerStats,
    RestoreStats,
    SharedMemory,
    SnapshotManager,
    SnapshotMismatch,
    TrackerOverlap,
    TrackingStats,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


def test_arguments() -> None:
    with SharedMemory(PAGE) as memory:
        for bad in (None, b"bytes", bytearray(PAGE), mmap.mmap(-1, PAGE)):
            with pytest.raises(TypeError, match="from_buffer"):
                SnapshotManager(bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"'auto', '{TRACKERS[0]}'"):
            SnapshotManager(memory, tracker="magic")
        with pytest.raises(ValueError, match="'adaptive', 'always'"):
            SnapshotManager(memory, rearm="never")  # type: ignore[arg-type]
        memory.close()


# All the ways in which two ranges can lie: Allen's thirteen relations, as
# (first page, pages) against 4 pages from page 4 on.
OVERLAPPING = {
    "overlaps": (2, 4),
    "overlapped by": (6, 4),
    "starts": (4, 2),
    "started by": (4, 6),
    "during": (5, 2),
    "contains": (2, 8),
    "finishes": (6, 2),
    "finished by": (2, 6),
    "equals": (4, 4),
}
APART = {
    "before": (0, 3),
    "after": (9, 3),
    "meets": (0, 4),
    "met by": (8, 4),
}


@pytest.mark.parametrize("relation", [*OVERLAPPING, *APART])
@pytest.mark.parametrize("second", ["same", "full"])
def test_one_tracker_to_a_page(
    tracker: str, relation: str, second: str
) -> None:
    view = memoryview(SharedMemory(12 * PAGE))
    first, count = {**OVERLAPPING, **APART}[relation]
    one = SharedMemory.from_buffer(view[4 * PAGE : 8 * PAGE])
    two = SharedMemory.from_buffer(view[first * PAGE : (first + count) * PAGE])
    other = tracker if second == "same" else "full"
    with one, two:
        with SnapshotManager(one, tracker=tracker) as manager:
            if relation in OVERLAPPING:
                with pytest.raises(TrackerOverlap, match=f"{one.address:#x}"):
                    SnapshotManager(two, tracker=other)
            else:
                with SnapshotManager(two, tracker=other) as neighbour:
                    manager.take()
                    neighbour.take()
                    view[:] = b"x" * 12 * PAGE
                    assert len(manager.changed()) == 4
                    assert len(neighbour.changed()) == count
                    manager.restore()
                    assert len(neighbour.changed()) == count
                    neighbour.verify()
            manager.take()
            view[5 * PAGE] = 7
            assert 1 in manager.dirty()
        # once it is closed, the pages are free again
        SnapshotManager(two, tracker=other).close()
    view.release()


def test_push_and_pop(tracker: str) -> None:
    memory, manager = new_manager(8, tracker)
    with memory, manager:
        for i in range(5):
            memory.write(i * PAGE, bytes([i + 1]))
            pushed = manager.push(f"level {i}")
            assert manager.current is pushed
        for i in reversed(range(5)):
            memory.fill(0, memory.size, 0xEE)
            stats = manager.pop()
            assert stats.pages_copied + stats.pages_zeroed == 8
            for page in range(5):
                expected = page + 1 if page <= i else 0
                assert memory.read(page * PAGE, 1)[0] == expected
        with pytest.raises(IndexError, match="pop without a push"):
            manager.pop()


def test_nothing_taken_yet(tracker: str) -> None:
    memory, manager = new_manager(5, tracker)
    with memory, manager:
        assert manager.current is None
        assert len(manager.dirty()) == 5
        for call in (manager.restore, manager.changed, manager.verify):
            with pytest.raises(ValueError, match="take one first"):
                call()


def test_mismatch() -> None:
    small, manager_small = new_manager(3, "full")
    large, manager_large = new_manager(4, "full")
    with small, manager_small, large, manager_large:
        snapshot = manager_small.take("small")
        manager_large.take()
        large.write(0, b"x")
        for call in (
            manager_large.restore,
            manager_large.changed,
            manager_large.verify,
        ):
            with pytest.raises(SnapshotMismatch, match=r"3 pages, and 4"):
                call(snapshot)
            for bad in (5, "small", object()):
                with pytest.raises(TypeError, match="not a Snapshot"):
                    call(bad)  # type: ignore[arg-type]
        assert large.read(0, 1) == b"x"


def test_after_close(tracker: str) -> None:
    memory, manager = new_manager(3, tracker)
    snapshot = manager.take()
    assert not manager.closed
    manager.close()
    manager.close()
    assert manager.closed
    assert repr(manager) == "<SnapshotManager, closed>"
    assert manager.current is None
    for call in (
        manager.take,
        manager.restore,
        lambda: manager.restore(snapshot),
        manager.push,
        manager.pop,
        manager.dirty,
        manager.changed,
        manager.verify,
        manager.__enter__,
        lambda: manager.stats,
        lambda: manager.tracker,
    ):
        with pytest.raises(ValueError, match="closed SnapshotManager"):
            call()
    memory.fill(0, memory.size, 1)
    memory.close()


def test_memory_cannot_go_before_its_manager(tracker: str) -> None:
    memory, manager = new_manager(3, tracker)
    with pytest.raises(BufferError, match="managers"):
        memory.close()
    manager.close()
    memory.close()


def test_dropped_without_close(real_tracker: str) -> None:
    """Even in a cycle, the collector takes memory and manager in order."""
    import gc

    for _ in range(20):
        memory, manager = new_manager(64, real_tracker)
        manager.take()
        memory.fill(0, memory.size, 1)
        memory.cycle = manager  # type: ignore[attr-defined]
        manager.cycle = memory  # type: ignore[attr-defined]
        del memory, manager
    gc.collect()
    assert core.counts()["managers"] == 0


def test_memory_is_writable_after_close(real_tracker: str) -> None:
    """Whoever owned it gets it back as it was: system calls work again."""
    import os

    backing = mmap.mmap(-1, 4 * PAGE)
    with SharedMemory.from_buffer(backing) as memory:
        with SnapshotManager(memory, tracker=real_tracker) as manager:
            manager.take()
    read, write = os.pipe()
    os.write(write, b"abc")
    assert os.readv(read, [memoryview(backing)[5:8]]) == 3
    os.close(read)
    os.close(write)
    assert backing[5:8] == b"abc"


def test_stats(tracker: str) -> None:
    memory, manager = new_manager(100, tracker, "always")
    with memory, manager:
        memory.fill(0, 10 * PAGE, 1)
        manager.take()
        memory.fill(0, 3 * PAGE, 2)
        memory.fill(50 * PAGE, PAGE, 2)
        done = manager.restore()
        assert isinstance(done, RestoreStats)
        assert done.bytes == (done.pages_copied + done.pages_zeroed) * PAGE
        stats = manager.stats
        assert stats["tracker"] == manager.tracker == tracker
        assert stats["rearm"] == "always"
        assert stats["passed_over"] == {}
        assert stats.keys() == ManagerStats.__required_keys__
        assert stats.keys() > TrackingStats.__required_keys__
        assert stats["why"] == "asked for by name"
        assert stats["takes"] == stats["restores"] == 1
        assert stats["pages"] == 100
        assert stats["pages_stored"] == stats["store_pages"] == 10
        if tracker == "full":
            assert (stats["pages_copied"], stats["pages_zeroed"]) == (10, 90)
        else:
            assert (stats["pages_copied"], stats["pages_zeroed"]) == (3, 1)
        assert set(stats) >= {"hot_pages", "pages_raced", "guesses"}


def test_bulk_writes_are_expected(real_tracker: str) -> None:
    memory, manager = new_manager(64, real_tracker, "always")
    with memory, manager:
        memory.fill(0, 10 * PAGE, 1)
        manager.take()
        memory.write(100, b"x" * 3 * PAGE)
        assert set(manager.dirty()) == {0, 1, 2, 3}
        assert manager.stats["pages_expected"] == 10 + 4
        memory.fill(20 * PAGE, 44 * PAGE)
        assert manager.stats["pages_expected"] == 10 + 4 + 44
        assert set(manager.dirty()) >= {0, 1, 2, 3}
        manager.verify()
        memory.write(PAGE - 1, b"few")
        memory.fill(5 * PAGE, PAGE, 7)
        assert manager.stats["pages_expected"] == 10 + 4 + 44
        manager.restore()
        assert memory.read(0, memory.size) == b"\1" * 10 * PAGE + bytes(
            54 * PAGE
        )
        manager.close()
        memory.fill(0, memory.size, 2)
        assert memory.read(0, memory.size) == b"\2" * memory.size
        with pytest.raises(IndexError):
            memory.fill(PAGE, memory.size)


def test_bulk_writes_are_expected_by_the_manager_there_is() -> None:
    """The first one of this memory is closed; the second one counts."""
    memory, manager = new_manager(64, "full")
    with memory:
        manager.close()
        memory.fill(0, 9 * PAGE, 1)
        with SnapshotManager(memory, tracker="full") as second:
            del manager
            memory.fill(0, 9 * PAGE, 1)
            assert second.stats["pages_expected"] == 9


def test_repr() -> None:
    memory, manager = new_manager(16, "full")
    with memory, manager:
        assert "tracker 'full', current None" in repr(manager)
        assert f"{16 * PAGE // 1024} KiB" in repr(manager)
        manager.take("x")
        assert "'x'" in repr(manager)
