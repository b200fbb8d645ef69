"""Objects that lie about themselves, or act while they are asked."""

from __future__ import annotations

import gc
import mmap
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from conftest import TRAPS, new_manager

from hyperlight import (
    PageSet,
    SharedMemory,
    Snapshot,
    SnapshotManager,
)
from hyperlight._binding import core

PAGE = core.PAGE_SIZE


def test_parent_is_what_was_current() -> None:
    memory, manager = new_manager(4, "full")
    with memory, manager:
        first = manager.take()
        second = manager.push()
        assert first.parent is None
        assert second.parent is first
        manager.restore(first)
        third = manager.take()
        assert third.parent is first


class Evil:
    """A number that does something when it is asked for."""

    def __init__(self, value: int, act: Callable[[], object]) -> None:
        self.value = value
        self.act = act

    def __index__(self) -> int:
        self.act()
        return self.value


class Liar(int):
    """Compares as anything, and is something else."""

    def __lt__(self, other: object) -> bool:
        return True

    __le__ = __gt__ = __ge__ = __lt__

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def test_numbers_that_close_the_memory() -> None:
    for call in (
        lambda memory, number: memory.read(number, 1),
        lambda memory, number: memory.read(0, number),
        lambda memory, number: memory.write(number, b"x"),
        lambda memory, number: memory.fill(number, 1),
        lambda memory, number: memory.fill(0, number),
        lambda memory, number: memory.fill(0, 1, number),
    ):
        memory = SharedMemory(16 * PAGE)
        with pytest.raises(ValueError, match="closed SharedMemory"):
            call(memory, Evil(1, memory.close))


@pytest.mark.parametrize("value", [1 << 40, -1])
def test_numbers_that_lie_about_their_size(value: int) -> None:
    memory, manager = new_manager(16, "full")
    with memory, manager:
        snapshot = manager.take()
        for call in (
            lambda: memory.read(Liar(value), 1),
            lambda: memory.write(Liar(value), b"x"),
            lambda: memory.fill(Liar(value), 1),
            lambda: snapshot.read(Liar(value), 1),
            lambda: PageSet.from_pages(64, [Liar(value)]),
            lambda: SharedMemory(Liar(value << 10)),
        ):
            with pytest.raises((IndexError, MemoryError, ValueError)):
                call()
        assert Liar(value) not in PageSet.from_pages(64, [3])


def test_a_snapshot_that_lies_about_its_size() -> None:
    class Large(Snapshot):
        size = 1 << 40  # type: ignore[assignment]
        page_count = 8  # type: ignore[assignment]

    memory, manager = new_manager(4, "full")
    with memory, manager, SharedMemory(8 * PAGE) as other:
        snapshot = manager.take()
        snapshot.__class__ = Large
        with pytest.raises(IndexError):
            snapshot.read(1 << 30, 1)
        with SnapshotManager(other, tracker="full") as second:
            mine = second.take()
            for call in (
                lambda: second.restore(snapshot),
                lambda: second.changed(snapshot),
                lambda: second.verify(snapshot),
                lambda: mine.diff(snapshot),
            ):
                with pytest.raises(ValueError, match="size"):
                    call()


def test_names_that_compare_equal() -> None:
    class Any_(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return hash("auto")

    with SharedMemory(PAGE) as memory:
        for bad in ({"tracker": Any_("magic")}, {"rearm": Any_("magic")}):
            with pytest.raises(ValueError, match="valid are"):
                SnapshotManager(memory, **bad)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="hugepages"):
            SharedMemory(PAGE, hugepages=Any_("yes"))  # type: ignore[arg-type]
        SnapshotManager(memory, tracker=Any_("full")).close()


def arena(kind: str, backing: mmap.mmap) -> Any:
    """Objects in a cycle, over somebody else's memory."""

    class Arena(SharedMemory):
        pass

    made = Arena.from_buffer(
        memoryview(backing) if kind == "view" else backing
    )
    if kind != "memory only":
        made.manager = SnapshotManager(made, tracker=TRAPS[-1])
        made.snapshot = made.manager.push()
        made.snapshot.manager = made.manager
    if kind == "hooks":
        made.hooks = [made.manager.restore, made.read]
        made.hooks.append(made.hooks)
    elif kind == "weak":
        made.gone = weakref.ref(made, lambda _: None)
        made.manager.gone = weakref.ref(made.manager, made.read)
    elif kind == "finalizer":

        class Last:
            def __del__(self) -> None:
                try:
                    self.arena.manager.restore()
                    self.arena.read(0, 1)
                except ValueError:
                    pass

        made.last = Last()
        made.last.arena = made
    elif kind == "manager subclass":

        class Keeper(SnapshotManager):
            pass

        made.manager.close()
        made.manager = Keeper(made, tracker=TRAPS[-1])
        made.manager.me = made.manager
        made.manager.take()
    made.me = made
    return made


@pytest.mark.parametrize(
    "kind",
    [
        *("memory only", "plain", "view", "hooks", "weak"),
        *("finalizer", "manager subclass"),
    ],
)
def test_cycles_are_collected(kind: str) -> None:
    """The owner gets its memory back, writable, and can close it."""
    backing = mmap.mmap(-1, 16 * PAGE)
    arena(kind, backing)
    gc.collect()
    assert core.counts()["managers"] == core.counts()["snapshots"] == 0
    backing[0] = 1
    backing.close()


def test_a_manager_of_a_cycle_that_is_brought_back_is_closed() -> None:
    """A finalizer may keep what was collected: closed, as a file is."""
    kept: list[Any] = []

    class Phoenix:
        def __del__(self) -> None:
            kept.append(self.manager)

    memory = SharedMemory(4 * PAGE)
    bird = Phoenix()
    bird.manager = SnapshotManager(memory)
    bird.manager.take()
    bird.me = bird
    del bird
    gc.collect()
    [manager] = kept
    assert manager.closed
    with pytest.raises(ValueError, match="closed SnapshotManager"):
        manager.take()
    memory.write(0, b"x")
    with SnapshotManager(memory) as again:
        again.take()
    memory.close()
