"""Memory that is warm, a manager of it, and pages to dirty."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hyperlight import SharedMemory, Snapshot, SnapshotManager
from hyperlight._binding import core

PATTERNS = ("spread", "clustered", "dense")
BLOCK = 4 << 20
PAGE: int = core.PAGE_SIZE


@dataclass(frozen=True)
class Case:
    """One cell of the grid."""

    tracker: str
    size: int
    dirty: int
    pattern: str

    def __str__(self) -> str:
        return (
            f"{self.tracker}/{self.size >> 10}KiB/{self.dirty}/{self.pattern}"
        )


def choose_pages(total: int, count: int, pattern: str) -> NDArray[np.int64]:
    """`count` page numbers of `total`, ascending.

    spread: evenly apart. clustered: groups of 16 at random places. dense: one
    stretch from the start.
    """
    count = min(count, total)
    if pattern == "dense":
        return np.arange(count)
    if pattern == "spread":
        return np.arange(count) * (total // count) if count else np.arange(0)
    rng = random.Random(1)
    groups = list(range((total + 15) // 16))
    rng.shuffle(groups)
    found: list[int] = []
    for group in groups:
        found += range(group * 16, min(group * 16 + 16, total))
        if len(found) >= count:
            break
    return np.array(sorted(found[:count]), dtype=np.int64)


class Bed:
    """Memory, a manager with a base snapshot, and the pages to dirty.

    On `small` pages, no huge one spares looking.
    """

    def __init__(
        self, case: Case, rearm: str = "adaptive", *, small: bool = False
    ) -> None:
        self.memory: SharedMemory = SharedMemory(
            case.size, hugepages=False if small else "auto"
        )
        page = self.memory.page_size
        for at in range(0, self.memory.size, BLOCK):  # a first touch is slow
            self.memory.fill(at, min(BLOCK, self.memory.size - at), 7)
        self.words: NDArray[np.uint64] = np.frombuffer(
            memoryview(self.memory), np.uint64
        )
        self.rows: NDArray[np.uint64] = self.words.reshape(-1, page // 8)
        self.pages: NDArray[np.int64] = choose_pages(
            self.memory.page_count, case.dirty, case.pattern
        )
        self.first_words: NDArray[np.int64] = self.pages * (page // 8)
        self.manager: SnapshotManager = SnapshotManager(
            self.memory,
            tracker=case.tracker,
            rearm=rearm,  # type: ignore[arg-type]
        )
        self.base: Snapshot = self.manager.take("base")
        self.counter: int = 0

    def write(self) -> None:
        """Dirty the pages: one word each, a new value each time."""
        self.counter += 1
        self.words[self.first_words] = self.counter

    def settle(self) -> None:
        """Run the loop until it is steady.

        Pages are hot after 3 rounds; where all are, huge pages are made whole
        again after 16 more, in at most 64 steps.
        """
        whole = len(self.pages) == self.memory.page_count
        steps = min(64, self.memory.size >> 21) if whole else 0
        for _ in range(24 + steps):
            self.write()
            self.manager.restore()

    def close(self) -> None:
        """Give it all back."""
        del self.words, self.rows
        self.manager.close()
        self.memory.close()


class Copies:
    """The same bytes without a library: the same pages, and all of them."""

    def __init__(self, bed: Bed) -> None:
        self.target: SharedMemory = SharedMemory(bed.memory.size)
        self.source: SharedMemory = SharedMemory(bed.memory.size)
        shape = bed.rows.shape
        for memory in (self.target, self.source):
            for at in range(0, memory.size, BLOCK):
                memory.fill(at, min(BLOCK, memory.size - at), 7)
        self.to: NDArray[np.uint64]
        self.whole: NDArray[np.uint64]
        self.to, self.whole = (
            np.frombuffer(memoryview(memory), np.uint64).reshape(shape)
            for memory in (self.target, self.source)
        )
        self.pages: NDArray[np.int64] = bed.pages
        step = self.pages[1] - self.pages[0] if len(self.pages) > 1 else 1
        self.every: slice[int, int, int] = slice(
            0, len(self.pages) * step, step
        )
        evenly = np.arange(shape[0])[self.every]
        self.even: bool = np.array_equal(evenly, self.pages)

    def write(self) -> None:
        """Dirty the same pages."""
        self.to[self.pages, 0] = 9

    def copy_pages(self) -> None:
        """Memcpy of the same pages, a row or a stretch at a time.

        Out of a full copy, as a restore does; clustered ones out of packed
        rows, since numpy would copy them twice otherwise.
        """
        if self.even:
            self.to[self.every] = self.whole[self.every]
        else:
            self.to[self.pages] = self.whole[: len(self.pages)]

    def copy_all(self) -> None:
        """Memmove of everything: the yardstick of what is never slower."""
        self.to[:] = self.whole

    def close(self) -> None:
        """Give it all back."""
        del self.to, self.whole
        self.target.close()
        self.source.close()
