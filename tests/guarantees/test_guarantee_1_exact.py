"""restore(s) makes every page equal to s: any s of the tree, any order."""

from __future__ import annotations

import random

import pytest
from conftest import new_manager, require_tracker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
)
from oracle import NaiveManager

from hyperlight import SharedMemory, Snapshot, SnapshotManager
from hyperlight._binding import core

PAGE = core.PAGE_SIZE
PAGES = 70  # more than a bitmap word, and not a whole number of them


class Machine(RuleBasedStateMachine):
    """Random writes, takes, restores and drops against full copies."""

    tracker = "full"
    rearm = "adaptive"
    snapshots = Bundle("snapshots")

    @initialize(hugepages=st.booleans())
    def start(self, hugepages: bool) -> None:
        self.memory = SharedMemory(PAGES * PAGE, hugepages=hugepages)
        self.manager = SnapshotManager(
            self.memory,
            tracker=self.tracker,
            rearm=self.rearm,  # type: ignore[arg-type]
        )
        assert self.manager.tracker == self.tracker
        self.view = memoryview(self.memory)
        self.naive = NaiveManager(self.view, PAGE)
        self.alive: dict[int, Snapshot] = {}

    def teardown(self) -> None:
        if hasattr(self, "view"):
            self.view.release()
            self.manager.close()
            self.memory.close()

    @rule(
        first=st.integers(0, PAGES - 1),
        count=st.integers(1, PAGES),
        step=st.integers(1, 9),
        byte=st.integers(0, 2),
    )
    def write(self, first: int, count: int, step: int, byte: int) -> None:
        """One byte of some pages; 0 makes pages zero again."""
        for page in range(first, min(first + count, PAGES), step):
            self.view[page * PAGE + page % PAGE] = byte

    @rule(offset=st.integers(0, PAGES * PAGE - 1), data=st.binary(max_size=64))
    def write_bytes(self, offset: int, data: bytes) -> None:
        data = data[: PAGES * PAGE - offset]
        self.memory.write(offset, data)

    @rule(
        page=st.integers(0, PAGES - 1),
        count=st.integers(0, PAGES),
        byte=st.integers(0, 255),
    )
    def fill(self, page: int, count: int, byte: int) -> None:
        self.memory.fill(page * PAGE, min(count, PAGES - page) * PAGE, byte)

    # Hypothesis keeps the values of a bundle alive, so it is given keys.

    @rule(target=snapshots)
    def take(self) -> int:
        snapshot = self.manager.take()
        self.naive.take(snapshot)
        self.alive[snapshot.id] = snapshot
        return snapshot.id

    @rule(key=snapshots)
    def restore(self, key: int) -> None:
        snapshot = self.alive[key]
        different = self.naive.differs(key)
        stats = self.manager.restore(snapshot)
        self.naive.current = key
        assert bytes(self.view) == self.naive.copies[key]
        assert stats.pages_copied + stats.pages_zeroed >= len(different)

    @rule(pages=st.sets(st.integers(0, PAGES - 1), max_size=3))
    @precondition(lambda self: self.naive.current is not None)
    def loop(self, pages: set[int]) -> None:
        """The same pages again and again: they become hot."""
        for i in range(5):
            for page in pages:
                self.view[page * PAGE + 7] = i + 1
            self.manager.restore()
            assert bytes(self.view) == self.naive.copies[self.naive.current]

    @rule(key=consumes(snapshots))
    def drop(self, key: int) -> None:
        """Let go of one, current or not; the others keep what they share."""
        del self.alive[key]
        if key != self.naive.current:
            del self.naive.copies[key]

    @rule(key=snapshots)
    def changed_and_verify(self, key: int) -> None:
        snapshot = self.alive[key]
        assert self.manager.changed(snapshot) == self.naive.differs(key)
        self.manager.verify(snapshot)

    @rule(a=snapshots, b=snapshots)
    def diff(self, a: int, b: int) -> None:
        copies = self.naive.copies
        expected = self.naive.pages_between(copies[a], copies[b])
        assert self.alive[a].diff(self.alive[b]) == expected

    @invariant()
    @precondition(lambda self: hasattr(self, "naive"))
    def dirty_is_a_superset(self) -> None:
        if self.naive.current is None:
            assert len(self.manager.dirty()) == PAGES
            return
        assert self.manager.current.id == self.naive.current
        different = self.naive.differs(self.naive.current)
        assert not different - self.manager.dirty()
        assert self.manager.changed() == different

    @invariant()
    @precondition(lambda self: hasattr(self, "naive"))
    def snapshots_keep_their_bytes(self) -> None:
        for snapshot in list(self.alive.values())[-2:]:
            copy = self.naive.copies[snapshot.id]
            assert snapshot.read(0, len(copy)) == copy


@pytest.mark.parametrize("rearm", ["adaptive", "always"])
def test_model(tracker: str, rearm: str) -> None:
    machine = type(
        f"Machine_{tracker}_{rearm}",
        (Machine,),
        {"tracker": tracker, "rearm": rearm},
    )
    case = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(
        max_examples=25,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    case("runTest").runTest()


def test_siblings_restore_from_each_other(tracker: str) -> None:
    memory, manager = new_manager(8, tracker)
    with memory, manager:
        base = manager.take("base")
        children = []
        for i in range(4):
            manager.restore(base)
            memory.fill(i * PAGE, PAGE, i + 1)
            children.append(manager.take(f"child {i}"))
        for i in (2, 0, 3, 1, 2):
            manager.restore(children[i])
            want = bytearray(8 * PAGE)
            want[i * PAGE : (i + 1) * PAGE] = bytes([i + 1]) * PAGE
            assert memory.read(0, 8 * PAGE) == want
            assert manager.current is children[i]


def test_clean_is_neither_zero_nor_the_base(tracker: str) -> None:
    """A page clean since the current snapshot may differ from another."""
    memory, manager = new_manager(4, tracker)
    with memory, manager:
        memory.fill(0, PAGE, 1)
        first = manager.take()
        memory.fill(0, PAGE, 2)
        second = manager.take()
        memory.fill(0, PAGE, 3)
        third = manager.take()
        for snapshot, byte in ((first, 1), (third, 3), (second, 2)):
            manager.restore(snapshot)
            assert memory.read(0, PAGE) == bytes([byte]) * PAGE


@pytest.mark.parametrize("pages", [1, 2, 63, 64, 65, 127, 128, 129, 513])
def test_last_page_of_any_size(tracker: str, pages: int) -> None:
    memory, manager = new_manager(pages, tracker)
    with memory, manager:
        manager.take()
        memory.write(pages * PAGE - 1, b"x")
        assert pages - 1 in manager.dirty()
        assert list(manager.changed()) == [pages - 1]
        manager.restore()
        assert memory.read(pages * PAGE - 1, 1) == b"\0"


def test_any_order_of_drops(tracker: str) -> None:
    memory, manager = new_manager(40, tracker)
    rng = random.Random(1)
    with memory, manager:
        kept: list[tuple[Snapshot, bytes]] = []
        for step in range(120):
            page = rng.randrange(40)
            memory.fill(page * PAGE, PAGE, rng.randrange(3))
            kept.append((manager.take(str(step)), memory.read(0, 40 * PAGE)))
            if len(kept) > 6:
                kept.pop(rng.randrange(len(kept)))
            snapshot, bytes_then = rng.choice(kept)
            manager.restore(snapshot)
            assert memory.read(0, 40 * PAGE) == bytes_then


def test_snapshot_of_another_manager_restores(tracker: str) -> None:
    """Same size, other memory: every page is brought over."""
    one, manager_one = new_manager(20, tracker)
    two, manager_two = new_manager(20, tracker)
    with one, manager_one, two, manager_two:
        one.write(3 * PAGE, b"one")
        two.write(5 * PAGE, b"two")
        ours, theirs = manager_one.take(), manager_two.take()
        manager_two.restore(ours)
        assert two.read(0, 20 * PAGE) == one.read(0, 20 * PAGE)
        two.write(7 * PAGE, b"more")
        child = manager_two.take()
        assert list(child.diff(ours)) == [7]
        manager_two.restore(theirs)
        assert two.read(5 * PAGE, 3) == b"two"
        assert two.read(7 * PAGE, 4) == bytes(4)
        manager_one.close()
        manager_two.restore(child)
        assert two.read(7 * PAGE, 4) == b"more"


def test_restore_before_any_take(tracker: str) -> None:
    one, manager_one = new_manager(6, tracker)
    two, manager_two = new_manager(6, tracker)
    with one, manager_one, two, manager_two:
        one.fill(PAGE, PAGE, 9)
        two.fill(4 * PAGE, PAGE, 8)
        manager_two.restore(manager_one.take())
        assert two.read(0, 6 * PAGE) == one.read(0, 6 * PAGE)
        two.write(0, b"x")
        assert 0 in manager_two.dirty()
        manager_two.verify()


def test_borrowed_memory_of_every_kind(tmp_path, tracker: str) -> None:
    """Private, shared, and file mappings, on trackers that take them."""
    import mmap

    from hyperlight import TrackerUnavailable

    path = tmp_path / "file"
    path.write_bytes(b"\x05" * PAGE * 16)
    for flags, fileno in (
        (mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1),
        (mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, -1),
        (mmap.MAP_PRIVATE, path),
        (mmap.MAP_SHARED, path),
    ):
        if fileno == -1:
            backing = mmap.mmap(-1, 16 * PAGE, flags=flags)
        else:
            with open(path, "r+b") as file:
                backing = mmap.mmap(file.fileno(), 16 * PAGE, flags=flags)
        with backing, SharedMemory.from_buffer(backing) as memory:
            try:
                manager = SnapshotManager(memory, tracker=tracker)
            except TrackerUnavailable as error:
                assert tracker == "uffd-sigbus", error
                continue
            with manager:
                backing[3 * PAGE] = 77
                before = bytes(backing[:])
                manager.take()
                for _ in range(3):
                    backing[5 * PAGE : 5 * PAGE + 3] = b"abc"
                    backing[0] ^= 1
                    assert set(manager.changed()) == {0, 5}
                    manager.restore()
                    assert backing[:] == before
                manager.verify()


def test_lossy_tracking_is_caught() -> None:
    """Planted fault: a write through another mapping of the same bytes."""
    import mmap
    import os

    from hyperlight import TrackerMissedPage

    require_tracker("uffd")
    fd = os.memfd_create("planted")
    try:
        os.truncate(fd, 8 * PAGE)
        seen, unseen = (mmap.mmap(fd, 8 * PAGE) for _ in range(2))
    finally:
        os.close(fd)
    with seen, unseen, SharedMemory.from_buffer(seen) as memory:
        with SnapshotManager(memory, tracker="uffd") as manager:
            manager.take()
            seen[PAGE] = 1
            manager.verify()
            unseen[3 * PAGE] = 1
            with pytest.raises(TrackerMissedPage) as caught:
                manager.verify()
            assert caught.value.pages == (3,)
            assert "uffd" in str(caught.value)
