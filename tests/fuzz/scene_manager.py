"""Memory and its manager, for any call in the middle of any."""

from __future__ import annotations

import gc
import mmap
import signal
from collections.abc import Callable
from typing import ClassVar

from scene import (
    PAGE,
    PAGES,
    Actions,
    Broken,
    Errors,
    Foreign,
    Scene,
    bounded,
    forked,
    outcome_of,
    require,
    some_of,
    text_of,
)

import hyperlight
from hyperlight import (
    SharedMemory,
    Snapshot,
    SnapshotManager,
)

# ---- Memory and its manager ----


def pages_of(one: bytes, other: bytes) -> set[int]:
    """Pages that differ."""
    return {
        page
        for page in range(len(one) // PAGE)
        if one[page * PAGE : (page + 1) * PAGE]
        != other[page * PAGE : (page + 1) * PAGE]
    }


def pattern(number: int) -> bytes:
    """Memory that is like no other, and never zero."""
    return b"".join(
        bytes([1 + (number * 37 + page * 11) % 255]) * PAGE
        for page in range(PAGES)
    )


class _Arena(SharedMemory):
    manager: SnapshotManager
    snapshot: Snapshot
    hook: Callable[[], object]
    again: object


class ManagerScene(Scene):
    """Two snapshots, one of them pushed, and pages written since."""

    def __init__(self, tracker: str, borrowed: bool) -> None:
        super().__init__()
        self.lender = mmap.mmap(-1, PAGES * PAGE, mmap.MAP_PRIVATE)
        if borrowed:
            self.memory = SharedMemory.from_buffer(self.lender)
        else:
            self.memory = SharedMemory(PAGES * PAGE)
        self.view = memoryview(self.memory)
        self.tracker = tracker
        self.manager = SnapshotManager(self.memory, tracker=tracker)
        self.known: dict[Snapshot, bytes] = {}
        for number in range(3):
            self.view[:] = pattern(number)
            snapshot = self.manager.push(f"level {number}")
            self.known[snapshot] = pattern(number)
        self.stack = list(self.known)
        self.manager.restore(self.stack[0])
        self.write(2, 9, 14)
        self.before = self.content()

    def content(self) -> bytes:
        return self.memory.read(0, PAGES * PAGE)

    def write(self, *pages: int) -> None:
        for page in pages:
            old = self.memory.read(page * PAGE + 5, 1)[0]
            self.memory.write(page * PAGE + 5, bytes([old ^ 0xFF]))

    # What is done to it.

    def other_manager(self) -> None:
        with SharedMemory(4 * PAGE) as memory:
            with SnapshotManager(memory, tracker=self.tracker) as manager:
                manager.take()
                memory.fill(0, 4 * PAGE, 3)
                manager.restore()
                require(not any(memory.read(0, 4 * PAGE)), "another's bytes")

    def second_manager(self) -> None:
        SnapshotManager(self.memory, tracker=self.tracker).close()

    def borrow_again(self) -> None:
        SharedMemory.from_buffer(self.view).close()

    def fork(self) -> None:
        forked(self.child, "fork")

    def cycle(self) -> None:
        """Objects that know each other, dropped: all is let go."""
        lender = mmap.mmap(-1, 4 * PAGE)
        arena = _Arena.from_buffer(lender)
        arena.manager = SnapshotManager(arena, tracker=self.tracker)
        arena.snapshot = arena.manager.take()
        arena.hook = arena.manager.restore
        arena.again = arena
        arena.write(0, b"x" * PAGE)
        del arena
        gc.collect()
        try:
            lender.close()
        except BufferError as error:
            raise Broken(f"a cycle is never let go: {error}") from None

    def some_view(self) -> bytes:
        with memoryview(self.memory) as view:
            return bytes(view[:PAGE])

    def release_all(self) -> None:
        self.view.release()
        self.manager.close()
        self.memory.close()

    def child(self) -> object:
        """What a child may do: use memory and snapshots, close all."""
        for snapshot, content in self.known.items():
            require(
                snapshot.read(0, len(content)) == content,
                "a snapshot in a child",
            )
        if not self.memory.closed and not self.manager.closed:
            snapshot = self.stack[1]
            result = outcome_of(
                lambda: self.manager.restore(snapshot), "in a child"
            )
            if not isinstance(result, BaseException):
                require(
                    self.memory.read(0, PAGES * PAGE) == self.known[snapshot],
                    "wrong bytes in a child",
                )
        self.manager.close()
        gc.collect()
        return None

    operations: ClassVar[Actions] = {
        "take": lambda s: s.manager.take(),
        "restore": lambda s: s.manager.restore(),
        "restore-any": lambda s: s.manager.restore(s.stack[1]),
        "push": lambda s: s.manager.push("A"),
        "pop": lambda s: s.manager.pop(),
        "dirty": lambda s: s.manager.dirty(),
        "changed": lambda s: s.manager.changed(),
        "verify": lambda s: s.manager.verify(),
        "stats": lambda s: s.manager.stats,
        "repr": lambda s: repr(s.manager),
        "close": lambda s: s.manager.close(),
        "new": lambda s: s.other_manager(),
        "second": lambda s: s.second_manager(),
        "second-foreign": lambda s: SnapshotManager(
            s.memory, tracker=text_of(s, "full")
        ),
        "borrow": lambda s: s.borrow_again(),
        "read": lambda s: s.memory.read(Foreign(s, 3), Foreign(s, 9000)),
        "write": lambda s: s.memory.write(
            Foreign(s, 2 * PAGE), s.before[2 * PAGE : 6 * PAGE]
        ),
        "fill": lambda s: s.memory.fill(
            Foreign(s, 0), Foreign(s, 4 * PAGE), Foreign(s, 3)
        ),
        "close-memory": lambda s: s.memory.close(),
        "fork": lambda s: s.fork(),
        "cycle": lambda s: s.cycle(),
        "view": lambda s: s.some_view(),
        "release-all": lambda s: s.release_all(),
        "restore-none": lambda s: s.manager.restore(Foreign(s, 1)),
        "take-named": lambda s: s.manager.take(text_of(s, "name")),
        "read-snapshot": lambda s: s.stack[0].read(
            Foreign(s, 4), Foreign(s, 5000)
        ),
        "diff": lambda s: s.stack[0].diff(s.stack[1]),
        "pageset": lambda s: hyperlight.PageSet.from_pages(
            Foreign(s, 16), [Foreign(s, 3), Foreign(s, 15)]
        ),
    }
    disturbances: ClassVar[Actions] = some_of(
        operations,
        *("take", "restore", "restore-any", "push", "pop", "dirty"),
        *("changed", "verify", "close", "new", "second", "borrow"),
        *("read", "write", "fill", "close-memory", "view"),
        *("release-all", "stats"),
    )
    disturbances |= {
        "poke": lambda s: s.write(3, 9, 11),
        "close-lender": lambda s: s.lender.close(),
    }
    expected: ClassVar[Errors] = {
        "second": ValueError,
        "second-foreign": ValueError,
        "close-memory": BufferError,
        "restore-none": TypeError,
        "pageset": TypeError,
        "borrow": ValueError,
    }
    harmless: ClassVar[frozenset[str]] = frozenset(
        ["none", "gc", "fork", "fork-on", "thread:fork"]
        + [
            f"{how}:{what}"
            for how in ("same", "thread")
            for what in (
                *("dirty", "changed", "verify", "new", "second", "read"),
                *("view", "stats", "close-memory", "borrow"),
            )
        ]
    )

    def names(self, mode: str) -> list[str]:
        names = super().names(mode)
        if self.tracker in ("sigsegv", "uffd-sigbus"):
            names.append("same:handlers")
        return names

    def replace_handlers(self) -> None:
        """As somebody else would who knows nothing of us."""
        self.spoiled = True
        for number in (signal.SIGSEGV, signal.SIGBUS):
            signal.signal(number, lambda *args: None)
        self.write(4)

    disturbances |= {"handlers": lambda s: None}

    def disturb(self, name: str) -> None:
        if name == "same:handlers":
            self._run(self.replace_handlers, name)
        elif name != "thread:handlers":
            super().disturb(name)

    def check(self, name: str, result: object, disturbance: str) -> None:
        self.settle()
        # It is refused where a thread uses the memory just then.
        in_use = isinstance(result, BufferError) and name == "release-all"
        if disturbance in self.harmless and not (
            in_use and disturbance.startswith("thread:")
        ):
            self.check_result(name, result)
        bounded(lambda: self.check_locks(), f"{name}, then any call")
        if not self.manager.closed and not self.memory.closed:
            self.check_stack(name, result, disturbance)
            self.check_memory()
        for snapshot, content in self.known.items():
            require(
                snapshot.read(0, len(content)) == content,
                "a snapshot has changed",
            )

    def check_result(self, name: str, result: object) -> None:
        """Undisturbed, it did what it is for."""
        wrong = f"{name} gave {result!r}"
        if name in self.expected:
            return
        require(not isinstance(result, BaseException), wrong)
        if name in ("take", "push", "take-named"):
            require(
                result.read(0, len(self.before)) == self.before,  # type: ignore[attr-defined]
                f"{name}: other bytes than memory had",
            )
            require(self.manager.current is result, "current is another")
        targets = {"restore": 0, "restore-any": 1, "pop": 2}
        if name in targets:
            require(
                self.content() == self.known[self.stack[targets[name]]],
                f"{name}: wrong bytes",
            )
        if name in ("dirty", "changed"):
            require({2, 9, 14} <= set(result), wrong)  # type: ignore[call-overload]
        if name == "changed":
            require({2, 9, 14} == set(result), wrong)  # type: ignore[call-overload]

    def check_locks(self) -> None:
        outcome_of(self.manager.dirty, "afterwards")
        outcome_of(lambda: self.manager.stats, "afterwards")

    def check_stack(self, name: str, result: object, disturbance: str) -> None:
        """What raised is done whole or not at all."""
        if disturbance != "raise" or not isinstance(result, KeyboardInterrupt):
            return
        current = self.manager.current
        require(current is not None, "no snapshot is current")
        assert current is not None
        expected = self.stack[2]
        if name == "push" and current is not self.stack[0]:
            expected = current
        if name == "pop" and current is self.stack[2]:
            expected = self.stack[1]
        if name not in ("push", "pop"):
            return
        content = self.known.get(expected, self.before)
        self.manager.pop()
        require(
            self.content() == content,
            f"{name} raised, and is neither done nor undone: the next pop "
            f"does not restore {expected!r}",
        )

    def check_memory(self) -> None:
        manager = self.manager
        size = PAGES * PAGE
        current = manager.current
        require(current is not None, "no snapshot is current")
        assert current is not None
        differing = pages_of(self.content(), current.read(0, size))
        dirty = set(manager.dirty())
        require(differing <= dirty, f"pages lost: {sorted(differing - dirty)}")
        manager.verify()
        taken = manager.take("afterwards")
        known = {**self.known, taken: self.content()}
        for snapshot, content in reversed(known.items()):
            manager.restore(snapshot)
            require(self.content() == content, "restore: wrong bytes")
            self.write(1, 9, 15)
            require({1, 9, 15} <= set(manager.dirty()), "writes not seen")
        manager.restore()
        require(
            self.content() == self.known[self.stack[0]],
            "restore: wrong bytes",
        )

    def end(self) -> None:
        self.view.release()
        self.manager.close()
        self.memory.close()
        self.lender.close()
