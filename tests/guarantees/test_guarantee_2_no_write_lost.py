"""No write is lost, whoever writes while snapshots come and go."""

from __future__ import annotations

import ctypes
import random
import struct
import sys
import threading
from collections.abc import Callable

import pytest
from conftest import new_manager, require_tracker

from hyperlight import SharedMemory, Snapshot, SnapshotManager
from hyperlight._binding import core

LIBC = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
PAGE = core.PAGE_SIZE


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Run work(0) ... work(count - 1) together; raise what one raised."""
    failed: list[BaseException] = []
    barrier = threading.Barrier(count)

    def body(i: int) -> None:
        try:
            barrier.wait(30)
            work(i)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def test_fifty_threads_write_exactly_the_written_set(
    real_tracker: str, rearm: str
) -> None:
    pages = 16384
    memory, manager = new_manager(pages, real_tracker, rearm, hugepages=False)
    written: list[set[int]] = [set() for _ in range(50)]

    with memory, manager, memoryview(memory) as view:
        manager.take()

        def write(i: int) -> None:
            rng = random.Random(i)
            for _ in range(500):
                page = rng.randrange(pages)
                view[page * PAGE + rng.randrange(PAGE)] = 1 + i
                written[i].add(page)

        in_threads(50, write)
        expected = set().union(*written)
        assert set(manager.dirty()) == expected
        assert set(manager.changed()) == expected
        stats = manager.restore()
        assert stats.pages_copied + stats.pages_zeroed == len(expected)
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_two_threads_fault_on_one_page(trap: str) -> None:
    memory, manager = new_manager(2, trap, "always")
    with memory, manager, memoryview(memory) as view:
        for _ in range(200):
            manager.take()
            in_threads(2, lambda i: view.__setitem__(i * 8, view[i * 8] ^ 1))
            assert set(manager.dirty()) == {0}


class Writer(threading.Thread):
    """Stores rising numbers, each in its own pages, without the GIL.

    `done` is raised after the store: any number up to it was written, and
    that write has ended.
    """

    def __init__(self, memory: SharedMemory, pages: range, seed: int) -> None:
        super().__init__()
        self.memory = memory
        self.pages = pages
        self.rng = random.Random(seed)
        self.stop = False
        self.done = dict.fromkeys(pages, 0)
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            number = 0
            while not self.stop:
                number += 1
                page = self.rng.choice(self.pages)
                if page + 1 in self.pages and number % 3 == 0:
                    self.write_two(page, number)
                    continue
                # ctypes lets go of the GIL around the copy
                LIBC.memcpy(
                    ctypes.c_void_p(self.memory.address + page * PAGE + 64),
                    struct.pack("<Q", number),
                    ctypes.c_size_t(8),
                )
                self.done[page] = number
        except BaseException as error:
            self.failed = error

    def write_two(self, page: int, number: int) -> None:
        """By the library's own call, which un-arms them first."""
        words = struct.pack("<Q", number) * (2 * PAGE // 8)
        self.memory.write(page * PAGE, words)
        self.done[page] = self.done[page + 1] = number


def number_in(data: bytes) -> int:
    return int(struct.unpack("<Q", data)[0])


def test_writers_during_take(tracker: str, rearm: str) -> None:
    """Ended before take: in the snapshot. Any other: in it, or dirty."""
    pages = 64
    memory, manager = new_manager(pages, tracker, rearm)
    with memory, manager:
        writers = [
            Writer(memory, range(i * 16, (i + 1) * 16), i) for i in range(4)
        ]
        for writer in writers:
            writer.start()
        kept: list[Snapshot] = []
        rng = random.Random(5)
        try:
            for _ in range(60):
                before = [dict(writer.done) for writer in writers]
                snapshot = manager.take()
                for done in before:
                    for page, number in done.items():
                        found = number_in(snapshot.read(page * PAGE + 64, 8))
                        assert found >= number, (page, number, found)
                kept.append(snapshot)
                if len(kept) > 5:
                    kept.pop(rng.randrange(len(kept)))
        finally:
            for writer in writers:
                writer.stop = True
                writer.join()
        assert [writer.failed for writer in writers] == [None] * 4
        # Quiet now: what is not dirty equals the last snapshot.
        dirty = manager.dirty()
        for writer in writers:
            for page, number in writer.done.items():
                found = number_in(memory.read(page * PAGE + 64, 8))
                assert found == number
                if page not in dirty:
                    old = number_in(snapshot.read(page * PAGE + 64, 8))
                    assert old == number, page
        manager.verify()


def test_writers_during_restore(tracker: str, rearm: str) -> None:
    """A write during restore is undone, or it is dirty afterwards."""
    pages = 32
    memory, manager = new_manager(pages, tracker, rearm)
    with memory, manager:
        base = manager.take("base")
        memory.fill(0, memory.size, 1)
        other = manager.take("other")
        writers = [
            Writer(memory, range(i * 8, (i + 1) * 8), i) for i in range(4)
        ]
        for writer in writers:
            writer.start()
        try:
            for i in range(120):
                manager.restore(base if i % 3 else other)
        finally:
            for writer in writers:
                writer.stop = True
                writer.join()
        assert [writer.failed for writer in writers] == [None] * 4
        manager.verify()
        now = memory.read(0, memory.size)
        current = manager.current
        assert current is not None
        then = current.read(0, memory.size)
        different = {
            page
            for page in range(pages)
            if now[page * PAGE : (page + 1) * PAGE]
            != then[page * PAGE : (page + 1) * PAGE]
        }
        assert different <= set(manager.dirty())
        assert different == set(manager.changed())
        manager.restore(base)
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_threads_share_a_manager(tracker: str) -> None:
    """Takes, restores, drops and questions from all sides."""
    memory, manager = new_manager(48, tracker)

    def work(i: int) -> None:
        rng = random.Random(i)
        mine: list[Snapshot] = []
        for _ in range(60):
            match rng.randrange(6):
                case 0:
                    memory.fill(rng.randrange(48) * PAGE, PAGE, i + 1)
                case 1:
                    mine.append(manager.take())
                case 2 if mine:
                    manager.restore(rng.choice(mine))
                case 3 if mine:
                    mine.pop()
                case 4:
                    len(manager.dirty())
                case 5 if mine:
                    mine[-1].diff(mine[0])

    with memory, manager:
        manager.take()
        in_threads(6, work)
        manager.verify()


def test_close_while_others_call(tracker: str) -> None:
    """A closed manager is a clear error, never a crash."""
    memory, manager = new_manager(16, tracker)
    manager.take()

    def work(i: int) -> None:
        if i == 0:
            manager.close()
            return
        for _ in range(200):
            try:
                memory.fill(i * PAGE, PAGE, i)
                manager.restore()
            except ValueError as error:
                assert "closed" in str(error)
                return

    with memory:
        in_threads(4, work)
        memory.fill(0, memory.size, 3)


def test_faults_while_tracking_ends(trap: str) -> None:
    """A fault on its way when its tracker goes is just run again."""
    memory = SharedMemory(64 * PAGE)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            ctypes.memset(memory.address, 7, memory.size)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(150):
            with SnapshotManager(memory, tracker=trap) as manager:
                manager.take()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    memory.close()


def test_first_take_while_untouched_memory_is_touched() -> None:
    """Pages touched while the first take arms them are not taken for zero."""
    for name in ("uffd", "uffd-sigbus", "sigsegv"):
        require_tracker(name)
        for _ in range(20):
            memory, manager = new_manager(512, name, hugepages=False)
            go = threading.Event()

            def touch(memory: SharedMemory = memory, go=go) -> None:
                go.wait()
                for page in range(512):
                    ctypes.memset(memory.address + page * PAGE, 1, 8)

            thread = threading.Thread(target=touch)
            thread.start()
            go.set()
            manager.take()
            thread.join()
            manager.verify()
            assert not manager.changed() - manager.dirty()
            manager.close()
            memory.close()


@pytest.mark.parametrize("hugepages", [False, True])
def test_hot_pages_are_not_lost(real_tracker: str, hugepages: bool) -> None:
    """Hot, cooling, and cold again: dirty stays a superset throughout."""
    if real_tracker == "softdirty" and hugepages:
        pytest.skip("a huge page has one soft-dirty bit: no page cools alone")
    pages = 1024
    memory, manager = new_manager(
        pages, real_tracker, "adaptive", hugepages=hugepages
    )
    rng = random.Random(3)
    with memory, manager:
        memory.fill(0, memory.size, 5)
        base = manager.take()
        for phase in range(4):
            mine = rng.sample(range(pages), (8, 700, 1, 40)[phase])
            for epoch in range(20):
                for page in mine:
                    memory.write(page * PAGE + epoch, b"w")
                assert set(mine) <= set(manager.dirty())
                assert set(mine) == set(manager.changed())
                manager.restore(base)
                assert not manager.changed()
            if phase in (0, 1, 3):
                assert manager.stats["hot_pages"] >= len(mine)
        for _ in range(80):  # nobody writes: they cool down
            manager.restore(base)
        assert manager.stats["hot_pages"] == 0
        assert not manager.dirty()


def test_hot_pages_follow_the_workload(real_tracker: str) -> None:
    memory, manager = new_manager(8192, real_tracker, hugepages=False)
    with memory, manager:
        manager.take()

        def settle(pages: range) -> None:
            for i in range(8):
                for page in pages:
                    memory.write(page * PAGE, bytes([i + 1]))
                manager.restore()
            assert manager.stats["hot_pages"] == len(pages)
            assert set(manager.dirty()) == set(pages)

        settle(range(0, 8192, 32))
        settle(range(16, 8192, 32))  # moved
        settle(range(16, 8192, 64))  # half of them left alone
        settle(range(0, 8192, 16))  # grown
        settle(range(5))
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_little_that_is_cold_stays_hot() -> None:
    """To ask about 12 pages costs more than to copy them."""
    memory, manager = new_manager(32, require_tracker("uffd"))
    with memory, manager:
        manager.take()
        hot = []
        for i in range(150):
            for page in range(20):
                memory.write(page * PAGE, bytes([i + 1]))
            manager.restore()
            hot.append(manager.stats["hot_pages"])
        assert set(hot[10:]) == {32}
        for i in range(80):
            memory.write(0, bytes([i + 1]))
            manager.restore()
        assert manager.stats["hot_pages"] == 1
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_pages_that_come_back_stay_hot(real_tracker: str) -> None:
    """To let them cool down each time costs more than to copy them."""
    memory, manager = new_manager(2048, real_tracker, hugepages=False)

    def run(epochs: int, pages: range) -> int:
        for i in range(epochs):
            for page in pages:
                memory.write(page * PAGE, bytes([i + 1]))
            manager.restore()
        return manager.stats["hot_pages"]

    with memory, manager:
        manager.take()
        cooled = 0
        for _ in range(60):
            assert run(3, range(256)) == 256
            cooled += run(3, range(0)) == 0
        assert 1 <= cooled <= 3  # of 60, and 60 if nobody learned
        assert run(64, range(0)) == 0  # whatever happened before
        for _ in range(3):  # it was right to: moves are followed again
            assert run(40, range(300)) == 300
            assert run(40, range(300, 500)) == 200
        assert memory.read(0, memory.size) == bytes(memory.size)


def test_always_keeps_nothing_hot(real_tracker: str) -> None:
    memory, manager = new_manager(64, real_tracker, "always")
    with memory, manager:
        manager.take()
        for i in range(10):
            memory.write(5 * PAGE, bytes([i + 1]))
            assert set(manager.dirty()) == {5}
            manager.restore()
            assert not manager.dirty()
            memory.write(9 * PAGE, bytes([i + 1]))
            manager.take()
            assert not manager.dirty()
        assert manager.stats["hot_pages"] == 0


def test_hot_at_the_edges(real_tracker: str) -> None:
    """Hot pages outside of the stretch that the tracker still looks at."""
    memory, manager = new_manager(512, real_tracker, hugepages=False)
    hot = [*range(128), *range(384, 512)]
    with memory, manager:
        memory.fill(0, memory.size, 5)
        manager.take()
        for i in range(5):
            for page in hot:
                memory.write(page * PAGE, bytes([i]))
            manager.restore()
        assert manager.stats["hot_pages"] == len(hot)
        memory.write(0, b"x")
        memory.write(511 * PAGE, b"x")
        memory.write(200 * PAGE, b"x")
        assert set(manager.changed()) == {0, 200, 511}
        assert set(manager.dirty()) == {200, *hot}
        manager.restore()
        manager.verify()
        assert memory.read(0, memory.size) == b"\x05" * memory.size
