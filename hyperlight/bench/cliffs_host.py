"""Where the cost of a restore could leave what changed: this process's memory.

Each function yields comparisons of a region that something happened to with a
fresh one, or with what does the same work without tracking.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hyperlight import SharedMemory, Snapshot, SnapshotManager, trackers
from hyperlight.bench.host import PAGE, Bed, Case, Copies
from hyperlight.bench.results import Limit, Line
from hyperlight.bench.rows import (
    Check,
    Effort,
    Open,
    Side,
    Turns,
    at_most,
    best_of,
    grown,
    microseconds,
    thinned,
)
from hyperlight.units import format_size

__all__ = [
    "cooled",
    "everything",
    "far",
    "managers",
    "never_slower",
    "sparse",
    "sparse_beside_best",
    "sparse_takes",
    "split",
    "usable",
]

KIB, MIB = 1 << 10, 1 << 20
SPARSE = "sparse memory"
EACH_TABLE = (
    "The kernel looks at each absent page table of a GiB of which anything "
    "was touched: 9 of the 15 µs."
)
HEALED = 64  # restores after which a phase is forgotten
TAKE = 5000.0  # µs
TOUCHED = 64  # pages of sparse memory
BRANCHES = 6  # snapshots between which it is restored


def usable() -> list[str]:
    """The trackers of this process's memory that work here, but for `full`."""
    found = [t.name for t in trackers() if t.available and t.driver is None]
    return [name for name in found if name != "full"]


class Sparse:
    """Much memory, of which nobody touched more than a few pages."""

    def __init__(self, tracker: str, size: int) -> None:
        self.memory: SharedMemory = SharedMemory(size)
        self.manager: SnapshotManager = SnapshotManager(
            self.memory, tracker=tracker
        )
        self.view: memoryview = memoryview(self.memory)
        self.view[0] = 1
        self.tables: int = -page_tables()
        self.took: float = microseconds(self.manager.take)
        self.tables += page_tables()
        self.at: int = 0

    def write(self) -> None:
        """Another page of few each time: none of them is hot."""
        self.at = (self.at + PAGE) % (TOUCHED * PAGE)
        self.view[self.at] = 2

    def loop(self) -> None:
        """Both, as a program does them."""
        self.write()
        self.manager.restore()

    def close(self) -> None:
        """Give it all back."""
        self.view.release()
        self.manager.close()
        self.memory.close()


def page_tables() -> int:
    """Bytes of page tables that this process has."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmPTE:"):
            return int(line.split()[1]) << 10
    return 0


def untouched(size: int, other: str, *, loop: bool = False) -> Open:
    """One page of much that nobody touched, beside another tracker.

    The restore alone, or the `loop`: writing it and the restore.
    """

    def opened(side: str, stack: ExitStack) -> Side:
        bed = Sparse("auto" if side == "after" else other, size)
        stack.callback(bed.close)
        if loop:
            return Side(bed.loop)
        return Side(bed.manager.restore, bed.write)

    return opened


def sparse(sizes: Iterable[int], others: Iterable[str]) -> Iterator[Check]:
    """Restore of one page, against each of these trackers."""
    for size in sizes:
        for other in others:
            yield Check(
                SPARSE,
                f"one page of {format_size(size)}, auto against {other}",
                untouched(size, other),
                1.5,
                bound=4,
            )


def sparse_beside_best(
    sizes: Iterable[int], effort: Effort
) -> Iterator[Limit]:
    """The same, against the best of all trackers that there are.

    Some take longer at the write, some at the restore; so both together are
    shown, too.
    """
    for size in sizes:
        for loop in (False, True):
            with ExitStack() as stack:
                sides = {
                    name: untouched(size, name, loop=loop)("before", stack)
                    for name in ("auto", *usable())
                }
                turns = Turns(sides, effort)
            what = f"one page of {format_size(size)}"
            if loop:
                what += " written and restored"
            limit = None if loop else 1.5
            row = best_of(SPARSE, what, turns, limit, usable()[0])
            yield dataclasses.replace(row, why=EACH_TABLE)


def sparse_takes(sizes: Iterable[int], effort: Effort) -> Iterator[Limit]:
    """The first take, and the page tables that it makes."""
    for size in sizes:
        takes: list[float] = []
        tables: list[float] = []
        for _ in range(5 * effort.fresh):
            bed = Sparse("auto", size)
            takes.append(bed.took)
            tables.append(bed.tables)
            bed.close()
        what = f"first take of {format_size(size)}, one page touched"
        took = statistics.median(takes)
        yield Limit(
            group=SPARSE,
            what=what,
            value=took,
            unit="µs",
            against=TAKE,
            ratio=took / TAKE,
            limit="<= 5 ms",
            kept=took <= TAKE,
            series=(Line("take", thinned(takes)),),
        )
        yield at_most(
            SPARSE, f"page tables of the {what}", max(tables), MIB, 1,
            unit="bytes",
        )  # fmt: skip


def cooled(names: Iterable[str], size: int) -> Iterator[Check]:
    """One page, before and after a phase that made 3/4 of a region hot."""

    def opening(tracker: str) -> Open:
        def opened(side: str, stack: ExitStack) -> Side:
            bed = Bed(Case(tracker, size, 1, "dense"), small=True)
            stack.callback(bed.close)
            bed.settle()
            for byte in range(1, 5) if side == "after" else ():
                bed.memory.fill(0, size * 3 // 4, byte)
                bed.manager.restore()
            return Side(bed.manager.restore, bed.write)

        return opened

    for name in names:
        yield Check(
            "pages that were hot",
            f"one page of {format_size(size)} after 3/4 of it were hot, "
            f"against fresh, {name}",
            opening(name),
            1.3,
            HEALED,
        )


def split(sizes: Iterable[int]) -> Iterator[Check]:
    """One page, before and after an epoch that split all huge pages."""

    def opening(size: int) -> Open:
        def opened(side: str, stack: ExitStack) -> Side:
            bed = Bed(Case("auto", size, 1, "dense"))
            stack.callback(bed.close)
            bed.settle()
            if side == "after":
                count = min(4096, bed.memory.page_count)
                step = bed.memory.page_count // count
                bed.words[np.arange(count) * (step * 512)] = 1
                bed.manager.restore()
            return Side(bed.manager.restore, bed.write)

        return opened

    for size in sizes:
        yield Check(
            "split huge pages",
            f"one page of {format_size(size)} after one epoch of 4096 spread "
            f"pages, against fresh",
            opening(size),
            1.3,
            HEALED,
        )


def plain_copy(case: Case, stack: ExitStack) -> Side:
    """What is done without the library: a memmove of all of it."""
    bed = Bed(case)
    copies = Copies(bed)
    stack.callback(copies.close)
    bed.close()
    copies.copy_all()
    return Side(copies.copy_all, copies.write)


class Tree:
    """Snapshots beside each other, and restores from each to any other."""

    def __init__(self, bed: Bed, share: float) -> None:
        rng = np.random.default_rng(5)
        total = bed.memory.page_count
        # Of two, what either changed differs: that is `share` in the mean.
        changed = total - round(total * (1 - share) ** 0.5)
        self.manager: SnapshotManager = bed.manager
        self.snapshots: list[Snapshot] = []
        for branch in range(BRANCHES):
            pages = rng.choice(total, changed, replace=False)
            bed.words[pages * 512] = branch + 1
            self.snapshots.append(self.manager.take())
            self.manager.restore(bed.base)
        self.rng: random.Random = random.Random(9)
        self.next: Snapshot = self.snapshots[0]
        self.choose()
        self.restore()

    def choose(self) -> None:
        """Any but the one where it is."""
        others = [s for s in self.snapshots if s is not self.next]
        self.next = self.rng.choice(others)

    def restore(self) -> None:
        """Go there."""
        self.manager.restore(self.next)


class FullCopies:
    """The same without the library: all of the memory, for each snapshot.

    From one of them, as chosen: that one is no more in the caches than what a
    snapshot holds.
    """

    def __init__(self, size: int) -> None:
        self.memories: list[SharedMemory] = [
            SharedMemory(size) for _ in range(1 + BRANCHES)
        ]
        for memory in self.memories:
            for at in range(0, size, MIB):
                memory.fill(at, min(MIB, size - at), 7)
        arrays = [
            np.frombuffer(memoryview(memory), np.uint64)
            for memory in self.memories
        ]
        self.to: NDArray[np.uint64] = arrays[0]
        self.copies: list[NDArray[np.uint64]] = arrays[1:]
        self.rng: random.Random = random.Random(9)
        self.next: int = 0

    def choose(self) -> None:
        """Any but the one that is there."""
        others = [i for i in range(BRANCHES) if i != self.next]
        self.next = self.rng.choice(others)

    def copy(self) -> None:
        """Go there."""
        self.to[:] = self.copies[self.next]

    def close(self) -> None:
        """Give it all back."""
        del self.to, self.copies
        for memory in self.memories:
            memory.close()


def far(
    names: Iterable[str], sizes: Iterable[int], shares: Iterable[float]
) -> Iterator[Check]:
    """Restores between snapshots of a tree, against a memmove of it all."""

    def opening(tracker: str, size: int, share: float) -> Open:
        def opened(side: str, stack: ExitStack) -> Side:
            if side == "before":
                copies = FullCopies(size)
                stack.callback(copies.close)
                return Side(copies.copy, copies.choose)
            bed = Bed(Case(tracker, size, 1, "dense"))
            stack.callback(bed.close)
            tree = Tree(bed, share)
            return Side(tree.restore, tree.choose)

        return opened

    for name in names:
        for size in sizes:
            for share in shares:
                yield Check(
                    "far snapshots",
                    f"restore across a tree of {format_size(size)}, "
                    f"{share:.0%} differ, against memmove of all, {name}",
                    opening(name, size, share),
                )


def never_slower(case: Case) -> Open:
    """A restore in a steady loop, and a memmove of all of it."""

    def opened(side: str, stack: ExitStack) -> Side:
        if side == "before":
            return plain_copy(case, stack)
        bed = Bed(case)
        stack.callback(bed.close)
        bed.settle()
        return Side(bed.manager.restore, bed.write)

    return opened


def everything(sizes: Iterable[int]) -> Iterator[Check]:
    """Half of the pages dirty, and all of them."""
    for size in sizes:
        for part, name in ((2, "half"), (1, "all")):
            case = Case("auto", size, size // PAGE // part, "dense")
            yield Check(
                "everything dirty",
                f"restore {format_size(size)}, {name} of it dirty, against "
                f"memmove of all",
                never_slower(case),
            )


class Many:
    """Managers, each of memory of its own."""

    def __init__(self) -> None:
        self.held: list[tuple[SharedMemory, SnapshotManager]] = []
        self.ready: SharedMemory = SharedMemory(64 * KIB)

    def prepare(self) -> None:
        """Memory for one more: not what is timed."""
        self.ready = SharedMemory(64 * KIB)
        self.ready.fill(0, self.ready.size, 7)

    def make(self) -> None:
        """One more, with a snapshot."""
        manager = SnapshotManager(self.ready)
        manager.take()
        self.held.append((self.ready, manager))

    def close(self) -> None:
        """The last of them."""
        self.held[-1][1].close()

    def after(self) -> None:
        """The memory of it."""
        self.held.pop()[0].close()


def managers(early: int, late: int) -> Iterator[Limit]:
    """Made and closed beside few others, and beside many."""
    many = Many()
    made, closed = [], []
    for _ in range(late):
        many.prepare()
        made.append(microseconds(many.make))
    for _ in range(late):
        closed.append(microseconds(many.close))
        many.after()
    closed.reverse()
    yield grown("many managers", "manager", "made", made, early, 1.5)
    yield grown("many managers", "manager", "closed", closed, early, 1.5)
