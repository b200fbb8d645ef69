"""Snapshots: sharing, sizes, life after their manager."""

from __future__ import annotations

import gc
import random
import threading

import pytest
from conftest import new_manager, require_tracker

import hyperlight
from hyperlight import SharedMemory, Snapshot, SnapshotManager
from hyperlight._binding import core

PAGE = core.PAGE_SIZE
GIB = 2**30


@pytest.mark.parametrize("size", ["64KiB", "64MiB", "1GiB"])
@pytest.mark.parametrize("changed", [1, 16, 4000])
@pytest.mark.parametrize("how", ["spread", "clustered"])
def test_holds_what_changed(size: str, changed: int, how: str) -> None:
    """At most 1.1 times the pages that changed since the parent."""
    with (
        SharedMemory(size, hugepages=False) as memory,
        SnapshotManager(memory) as manager,
    ):
        changed = min(changed, memory.page_count)
        manager.take()
        step = memory.page_count // changed if how == "spread" else 1
        for i in range(changed):
            memory.write(i * step * PAGE, b"x")
        child = manager.take()
        assert changed * PAGE <= child.nbytes <= 1.1 * changed * PAGE
        # nothing changed: nothing held but the snapshot itself
        assert manager.take().nbytes < 128


def test_first_take_costs_what_was_touched(tracker: str) -> None:
    with SharedMemory(GIB, hugepages=False) as memory:
        memory.fill(500 * PAGE, 256 * PAGE, 1)
        with SnapshotManager(memory, tracker=tracker) as manager:
            first = manager.take()
            assert 256 * PAGE <= first.nbytes <= 1.1 * 256 * PAGE
            stats = manager.stats
            assert stats["pages_stored"] == stats["store_pages"] == 256
        assert first.size == GIB
        assert first.read(499 * PAGE, PAGE) == bytes(PAGE)
        assert first.read(500 * PAGE, PAGE) == b"\x01" * PAGE


def test_zero_pages_take_no_memory(tracker: str) -> None:
    """Touched and zero, or zeroed again."""
    memory, manager = new_manager(1000, tracker)
    with memory, manager:
        memory.fill(0, 500 * PAGE, 0)
        assert manager.take().nbytes < 128
        memory.fill(0, 500 * PAGE, 1)
        parent = manager.take()
        memory.fill(0, 400 * PAGE, 0)
        child = manager.take()
        assert child.nbytes < 400 * 80
        assert parent.nbytes >= 400 * PAGE
        assert manager.stats["store_pages"] == 500
        memory.fill(0, memory.size, 9)
        stats = manager.restore()
        assert stats.pages_zeroed == 900
        assert stats.pages_copied == 100
        assert stats.bytes == memory.size
        assert stats.tracker == tracker


def test_written_with_the_same_bytes_is_not_a_change(tracker: str) -> None:
    memory, manager = new_manager(64, tracker)
    with memory, manager:
        memory.fill(0, memory.size, 3)
        base = manager.take()
        memory.fill(0, memory.size, 3)
        child = manager.take()
        assert child.nbytes < 128
        assert not child.diff(base)


def test_sharing_moves_as_snapshots_go() -> None:
    memory, manager = new_manager(100, "full")
    with memory, manager:
        memory.fill(0, memory.size, 1)
        first = manager.take("first")
        alone = first.nbytes
        memory.fill(0, 40 * PAGE, 2)
        second = manager.take("second")
        assert first.nbytes < alone  # 60 pages are shared now
        assert 40 * PAGE <= first.nbytes < 41 * PAGE + 1000
        before = second.nbytes
        del first
        assert second.nbytes > before + 55 * PAGE
        assert second.parent is None
        memory.fill(0, memory.size, 7)
        manager.restore(second)
        assert memory.read(0, 100 * PAGE) == (
            b"\x02" * 40 * PAGE + b"\x01" * 60 * PAGE
        )


def test_any_can_be_dropped_in_any_order() -> None:
    """And memory goes when nobody shares it."""
    rng = random.Random(2)
    memory, manager = new_manager(300, "full")
    with memory, manager:
        alive: list[Snapshot] = []
        for i in range(60):
            for _ in range(rng.randrange(40)):
                memory.fill(rng.randrange(300) * PAGE, PAGE, rng.randrange(4))
            alive.append(manager.take(str(i)))
            if rng.randrange(3) == 0:
                manager.restore(rng.choice(alive))
        last = manager.current
        assert last is not None
        held = manager.stats["store_pages"]
        rng.shuffle(alive)
        while alive:
            alive.pop()
            assert manager.stats["store_pages"] <= held
            held = manager.stats["store_pages"]
        one_copy = sum(
            any(last.read(page * PAGE, PAGE)) for page in range(300)
        )
        assert held == one_copy
        assert last.nbytes >= one_copy * PAGE


def test_free_memory_goes_back() -> None:
    """Resident memory follows what live snapshots hold."""
    memory, manager = new_manager(20_000, "full", hugepages=False)
    with memory, manager:
        keep = manager.take()
        for byte in (1, 2, 3):
            memory.fill(0, memory.size, byte)
            big = manager.take()
            assert manager.stats["store_pages"] == 20_000
            manager.restore(keep)
            del big
            stats = manager.stats
            assert stats["store_pages"] == stats["store_nodes"] == 0
            assert stats["store_reserved"] <= 2**20


def test_usable_after_manager_and_memory_are_gone() -> None:
    memory, manager = new_manager(10, "full")
    memory.write(5 * PAGE, b"five")
    a = manager.take("a")
    memory.write(6 * PAGE, b"six")
    b = manager.take("b")
    manager.close()
    memory.close()
    del manager, memory
    gc.collect()
    assert a.read(5 * PAGE, 4) == b"five"
    assert b.read(6 * PAGE, 3) == b"six"
    assert list(b.diff(a)) == [6]
    assert b.parent is a
    memory, manager = new_manager(10, "full")
    with memory, manager:
        manager.restore(b)
        assert memory.read(6 * PAGE, 3) == b"six"


def test_attributes() -> None:
    memory, manager = new_manager(10, "full")
    with memory, manager:
        one = manager.take("one")
        two = manager.take()
        assert (one.name, two.name) == ("one", None)
        assert one.id < two.id
        assert one.parent is None
        assert two.parent is one
        assert one.page_count == 10
        assert one.size == 10 * PAGE
        assert repr(one).startswith(f"<Snapshot #{one.id} 'one': ")
        for attribute in ("size", "page_count", "nbytes", "parent"):
            with pytest.raises(AttributeError):
                setattr(one, attribute, 1)


def test_read_bounds() -> None:
    memory, manager = new_manager(3, "full")
    with memory, manager:
        snapshot = manager.take()
        assert snapshot.read(3 * PAGE, 0) == b""
        assert snapshot.read(PAGE - 3, 2 * PAGE) == bytes(2 * PAGE)
        for offset, length, error in (
            (-1, 1, IndexError),
            (0, 3 * PAGE + 1, IndexError),
            (2**64, 1, IndexError),
            (0, -1, ValueError),
            (0.5, 1, TypeError),
        ):
            with pytest.raises(error):
                snapshot.read(offset, length)  # type: ignore[arg-type]


def test_empty_snapshot_is_a_clear_error() -> None:
    empty = Snapshot("made by hand")
    assert "empty" in repr(empty)
    memory, manager = new_manager(3, "full")
    with memory, manager:
        taken = manager.take()
        for call in (
            lambda: empty.read(0, 1),
            lambda: empty.nbytes,
            lambda: empty.diff(taken),
            lambda: taken.diff(empty),
            lambda: manager.restore(empty),
            lambda: manager.changed(empty),
        ):
            with pytest.raises(ValueError, match="empty"):
                call()
        with pytest.raises(TypeError, match="name=5"):
            Snapshot(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="name=5"):
            manager.take(5)  # type: ignore[arg-type]


def test_diff_wants_the_same_size() -> None:
    one, manager_one = new_manager(3, "full")
    two, manager_two = new_manager(4, "full")
    with one, manager_one, two, manager_two:
        a, b = manager_one.take(), manager_two.take()
        with pytest.raises(hyperlight.SnapshotMismatch, match="4 are needed"):
            a.diff(b)
        with pytest.raises(TypeError, match="other=5"):
            a.diff(5)  # type: ignore[arg-type]


def test_diff_is_exact_across_stores() -> None:
    one, manager_one = new_manager(40, "full")
    two, manager_two = new_manager(40, "full")
    with one, manager_one, two, manager_two:
        for memory in (one, two):
            memory.fill(3 * PAGE, 20 * PAGE, 5)
        two.write(9 * PAGE, b"x")
        two.write(30 * PAGE, b"x")
        a, b = manager_one.take(), manager_two.take()
        assert list(a.diff(b)) == list(b.diff(a)) == [9, 30]


def test_threads_read_and_drop() -> None:
    """Snapshots are immutable: no lock, no surprise."""
    require_tracker("full")
    memory, manager = new_manager(200, "full")
    with memory, manager:
        made = []
        for i in range(20):
            memory.fill(i * 10 * PAGE, 10 * PAGE, i + 1)
            made.append(manager.take())
        failed: list[BaseException] = []

        def work(seed: int) -> None:
            try:
                rng = random.Random(seed)
                mine = list(made)
                rng.shuffle(mine)
                while mine:
                    snapshot = mine.pop()
                    index = made_ids.index(snapshot.id)
                    page = rng.randrange(200)
                    want = page // 10 + 1 if page // 10 <= index else 0
                    assert snapshot.read(page * PAGE, 1)[0] == want
                    assert snapshot.nbytes > 0
            except BaseException as error:
                failed.append(error)

        made_ids = [snapshot.id for snapshot in made]
        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
