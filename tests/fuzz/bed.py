"""What the fuzzer of managers compares: a manager and a naive one."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import random
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oracle import NaiveManager

from hyperlight import (
    SharedMemory,
    Snapshot,
    SnapshotManager,
)
from hyperlight._binding import core
from hyperlight.registry import HOST_TRACKERS

PAGE = core.PAGE_SIZE
STEPS = 60
SIZES = (1, 3, 24, 24, 64, 65, 130, 1100)
KINDS = ("own", "private", "shared", "memfd", "file", "file-copy")
TRACKERS = ("auto", *HOST_TRACKERS)
TRAPS = ("uffd-sigbus", "sigsegv")
POINTS = ("store-alloc", "node-alloc", "arm", "collect")

# Those that drop pages come last: a trap does not see them, and says so.
ADVICE = {"WILLNEED": 3, "HUGEPAGE": 14, "NOHUGEPAGE": 15, "COLD": 20,
          "PAGEOUT": 21, "POPULATE_READ": 22, "COLLAPSE": 25,
          "FREE": 8, "DONTNEED": 4, "REMOVE": 9}  # fmt: skip
DROPS = ("FREE", "DONTNEED", "REMOVE")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Broken(Exception):
    """A promise that was not kept."""


def require(condition: object, what: str) -> None:
    if not condition:
        raise Broken(what)


class Bed:
    """One memory, its manager, and the model of both."""

    def __init__(self, source: random.Random, kind: str, tracker: str) -> None:
        self.source = source
        self.kind = kind
        self.wanted = tracker
        self.rearm = source.choice(("adaptive", "always"))
        self.pages = source.choice(SIZES)
        size = self.pages * PAGE
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        self.lender: mmap.mmap | None = self.make_lender(size)
        if self.lender is None:
            self.memory = SharedMemory(size)
        else:
            self.memory = SharedMemory.from_buffer(self.lender)
        self.view = memoryview(self.memory)
        self.model = NaiveManager(self.view, PAGE)
        self.snapshots: list[Snapshot] = []
        self.stack: list[Snapshot] = []
        self.manager = SnapshotManager(
            self.memory, tracker=tracker, rearm=self.rearm
        )
        self.settled = False  # current is what the model says

    def make_lender(self, size: int) -> mmap.mmap | None:
        if self.kind == "own":
            return None
        if self.kind == "private":
            return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if self.kind == "shared":
            return mmap.mmap(-1, size)
        if self.kind == "memfd":
            number = os.memfd_create("fuzz")
            os.ftruncate(number, size)
            made = mmap.mmap(number, size)
            os.close(number)
            return made
        self.file.write(b"f" * size)
        self.file.flush()
        copies = self.kind == "file-copy"
        access = mmap.ACCESS_COPY if copies else mmap.ACCESS_WRITE
        return mmap.mmap(self.file.fileno(), size, access=access)

    @property
    def tracker(self) -> str:
        return self.manager.tracker

    def some_pages(self) -> tuple[int, int]:
        """First and count."""
        first = self.source.randrange(self.pages)
        most = self.pages - first
        count = self.source.choice((1, 1, 1, 2, 5, most))
        return first, min(count, most)

    # Writes.

    def write_plainly(self) -> None:
        for _ in range(self.source.randrange(1, 8)):
            page = self.source.randrange(self.pages)
            at = page * PAGE + self.source.choice((0, 1, 7, 4095))
            self.view[at] = self.source.randrange(256)

    def write_much(self) -> None:
        first, count = self.some_pages()
        data = self.source.randbytes(16) * (PAGE // 16) * count
        how = self.source.randrange(3)
        if how == 0:
            self.memory.write(first * PAGE, data)
        elif how == 1:
            self.memory.fill(
                first * PAGE, count * PAGE, self.source.randrange(256)
            )
        else:
            self.view[first * PAGE : (first + count) * PAGE] = data

    def write_by_system_calls(self) -> None:
        """With traps it gives EFAULT, or is short: the model only looks."""
        first, count = self.some_pages()
        part = self.view[first * PAGE : (first + count) * PAGE]
        with part, contextlib.suppress(OSError):
            if self.source.randrange(2):
                with open("/dev/urandom", "rb", buffering=0) as source:
                    source.readinto(part)
            else:
                reader, writer = os.pipe()
                try:
                    os.write(writer, self.source.randbytes(3000))
                    os.readv(reader, [part[:100], part[200:2000]])
                finally:
                    os.close(reader)
                    os.close(writer)

    def advise(self) -> None:
        names = list(ADVICE)
        if self.tracker in TRAPS:
            names = [name for name in names if name not in DROPS]
        name = self.source.choice(names)
        first, count = self.some_pages()
        _libc.madvise(
            self.memory.address + first * PAGE, count * PAGE, ADVICE[name]
        )

    # Calls.

    def take(self) -> None:
        self.took(self.manager.take())

    def took(self, snapshot: Snapshot) -> None:
        self.model.take(snapshot)
        self.snapshots.append(snapshot)
        self.settled = True
        require(self.manager.current is snapshot, "take: current is another")
        require(
            snapshot.read(0, self.pages * PAGE)
            == self.model.copies[snapshot.id],
            "take: other bytes than memory has",
        )

    def push(self) -> None:
        snapshot = self.manager.push()
        self.took(snapshot)
        self.stack.append(snapshot)

    def pop(self) -> None:
        if not self.stack:
            try:
                self.manager.pop()
            except IndexError:
                return
            raise Broken("pop without a push")
        snapshot = self.stack[-1]
        self.manager.pop()
        self.stack.pop()
        self.restored(snapshot)

    def restore(self) -> None:
        if not self.snapshots:
            return
        snapshot = self.source.choice(self.snapshots)
        current = self.manager.current
        if current is not None and self.source.randrange(3) == 0:
            self.manager.restore()
            snapshot = current
        else:
            self.manager.restore(snapshot)
        self.restored(snapshot)

    def restored(self, snapshot: Snapshot) -> None:
        wrong = self.model.differs(snapshot.id)
        require(not wrong, f"restore: wrong bytes in {list(wrong)[:9]}")
        require(self.manager.current is snapshot, "restore: current")
        require(not self.manager.changed(), "restore: pages differ")
        self.settled = True

    def look(self) -> None:
        current = self.manager.current
        dirty = self.manager.dirty()
        if current is None:
            require(len(dirty) == self.pages, "not all dirty at first")
            return
        differing = self.model.differs(current.id)
        lost = differing - dirty
        require(not lost, f"writes lost: {list(lost)[:9]}")
        changed = self.manager.changed()
        require(changed == differing, "changed: not what differs")
        if self.snapshots:
            other = self.source.choice(self.snapshots)
            require(
                self.manager.changed(other) == self.model.differs(other.id),
                "changed against another",
            )
            require(
                current.diff(other)
                == self.model.pages_between(
                    self.model.copies[current.id], self.model.copies[other.id]
                ),
                "diff",
            )

    def verify(self) -> None:
        if self.manager.current is not None:
            self.manager.verify()

    def drop(self) -> None:
        if len(self.snapshots) > 1:
            gone = self.source.choice(self.snapshots)
            self.snapshots.remove(gone)

    def reopen(self) -> None:
        """Snapshots outlive their manager, and serve the next."""
        self.manager.close()
        self.stack.clear()
        self.manager = SnapshotManager(
            self.memory, tracker=self.wanted, rearm=self.rearm
        )

    def fail(self) -> None:
        """Something that was planned fails in a call; nothing is lost."""
        if not core.CAN_FAIL:
            return
        point = self.source.choice(POINTS)
        before = self.manager.current
        call: Callable[[], None] = self.source.choice(
            (self.take, self.restore, self.look, self.push, self.pop)
        )
        content = bytes(self.view)
        core.plan_failure(
            point, self.source.randrange(6), self.source.choice((1, 1, 50))
        )
        try:
            call()
        except MemoryError:
            if self.manager.current is before and call != self.look:
                now = self.model.pages_between(content, bytes(self.view))
                require(not now, f"failed, and changed {list(now)[:9]}")
        finally:
            for name in POINTS:
                core.plan_failure(name, 0, 0)
        self.look()
        self.verify()

    def with_threads(self) -> None:
        """Others write meanwhile; what they wrote is found afterwards."""
        stop = threading.Event()
        seed = self.source.randrange(1 << 30)

        def write(number: int) -> None:
            source = random.Random(seed + number)
            while not stop.is_set():
                at = source.randrange(self.pages) * PAGE + 8 * number
                self.view[at] = source.randrange(256)

        threads = [threading.Thread(target=write, args=(i,)) for i in (1, 2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(self.source.randrange(1, 6)):
                if self.snapshots and self.source.randrange(2):
                    self.manager.restore(self.source.choice(self.snapshots))
                else:
                    taken = self.manager.take()
                    content = taken.read(0, self.pages * PAGE)
                    self.model.copies[taken.id] = content
                    self.snapshots.append(taken)
                self.manager.dirty()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.look()
        self.verify()

    def end(self) -> None:
        self.view.release()
        self.manager.close()
        self.memory.close()
        if self.lender is not None:
            self.lender.close()
        self.file.close()


STEP_WEIGHTS: dict[Callable[[Bed], None], int] = {
    Bed.write_plainly: 12,
    Bed.write_much: 5,
    Bed.write_by_system_calls: 4,
    Bed.advise: 4,
    Bed.take: 6,
    Bed.push: 3,
    Bed.pop: 3,
    Bed.restore: 12,
    Bed.look: 6,
    Bed.verify: 2,
    Bed.drop: 3,
    Bed.reopen: 1,
    Bed.fail: 4,
    Bed.with_threads: 2,
}
