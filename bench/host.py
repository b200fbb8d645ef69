"""What the benchmarks share: memory that is warm, and pages to dirty."""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyperf

from hyperlight import SharedMemory, SnapshotManager, trackers
from hyperlight.units import parse_size

PATTERNS = ("spread", "clustered", "dense")
BLOCK = 4 << 20


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


def choose_pages(total: int, count: int, pattern: str) -> np.ndarray:
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
    groups = list(range(total // 16)) or [0]
    rng.shuffle(groups)
    found: list[int] = []
    for group in groups:
        found += range(group * 16, min(group * 16 + 16, total))
        if len(found) >= count:
            break
    return np.array(sorted(found[:count]), dtype=np.int64)


class Bed:
    """Memory, a manager with a base snapshot, and the pages to dirty."""

    def __init__(self, case: Case, rearm: str = "adaptive") -> None:
        self.memory = SharedMemory(case.size)
        page = self.memory.page_size
        for at in range(0, self.memory.size, BLOCK):  # a first touch is slow
            self.memory.fill(at, min(BLOCK, self.memory.size - at), 7)
        self.words = np.frombuffer(self.memory, np.uint64)
        self.rows = self.words.reshape(-1, page // 8)
        self.pages = choose_pages(
            self.memory.page_count, case.dirty, case.pattern
        )
        self.first_words = self.pages * (page // 8)
        self.manager = SnapshotManager(
            self.memory,
            tracker=case.tracker,
            rearm=rearm,  # type: ignore[arg-type]
        )
        self.base = self.manager.take("base")
        self.counter = 0

    def write(self) -> None:
        """Dirty the pages: one word each, a new value each time."""
        self.counter += 1
        self.words[self.first_words] = self.counter

    def settle(self, rounds: int = 8) -> None:
        """Run the loop until hot pages are hot and caches are warm."""
        for _ in range(rounds):
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
        self.target = SharedMemory(bed.memory.size)
        self.source = SharedMemory(bed.memory.size)
        shape = bed.rows.shape
        for memory in (self.target, self.source):
            for at in range(0, memory.size, BLOCK):
                memory.fill(at, min(BLOCK, memory.size - at), 7)
        self.to = np.frombuffer(self.target, np.uint64).reshape(shape)
        self.whole = np.frombuffer(self.source, np.uint64).reshape(shape)
        self.pages = bed.pages
        step = self.pages[1] - self.pages[0] if len(self.pages) > 1 else 1
        self.every = slice(0, len(self.pages) * step, step)
        evenly = np.arange(shape[0])[self.every]
        self.even = np.array_equal(evenly, self.pages)

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
        """Memcpy of everything."""
        self.to[:] = self.whole

    def close(self) -> None:
        """Give it all back."""
        del self.to, self.whole
        self.target.close()
        self.source.close()


def runner(description: str) -> pyperf.Runner:
    """A pyperf runner that understands the grid's options."""
    made = pyperf.Runner(
        program_args=None, metadata={"description": description}
    )
    parser = made.argparser
    names = [info.name for info in trackers() if info.available]
    parser.add_argument("--trackers", default=",".join(names))
    parser.add_argument("--sizes", default="64KiB,1MiB,64MiB")
    parser.add_argument("--dirty", default="1,16,256")
    parser.add_argument("--patterns", default="spread,clustered,dense")
    made._add_cmdline_args = _pass_on  # workers get the same grid
    return made


def _pass_on(command: list[str], args: argparse.Namespace) -> None:
    for name in ("trackers", "sizes", "dirty", "patterns"):
        command.extend((f"--{name}", getattr(args, name)))


def cases(made: pyperf.Runner) -> Iterator[Case]:
    """The cells that the command line asks for."""
    args = made.parse_args()
    for tracker, size, dirty, pattern in itertools.product(
        args.trackers.split(","),
        map(parse_size, args.sizes.split(",")),
        map(int, args.dirty.split(",")),
        args.patterns.split(","),
    ):
        # one page has no pattern, and a region only so many pages
        if (dirty > 1 or pattern == "dense") and dirty * 4096 <= size:
            yield Case(tracker, size, dirty, pattern)


def timed(
    case: Case,
    before: Callable[[Bed], Any],
    measured: Callable[[Bed], Any],
    rearm: str = "adaptive",
) -> Callable[[int], float]:
    """A function for bench_time_func: only `measured` counts.

    Everything is set up inside, since pyperf imports a script many times.
    """

    def run(loops: int) -> float:
        bed = Bed(case, rearm)
        bed.settle()
        total = 0.0
        for _ in range(loops):
            before(bed)
            start = pyperf.perf_counter()
            measured(bed)
            total += pyperf.perf_counter() - start
        bed.close()
        return total

    return run


def timed_copy(
    case: Case, measured: Callable[[Copies], Any]
) -> Callable[[int], float]:
    """The same for a plain copy of the same bytes."""

    def run(loops: int) -> float:
        bed = Bed(case)
        copies = Copies(bed)
        total = 0.0
        measured(copies)
        for _ in range(loops):
            copies.write()
            start = pyperf.perf_counter()
            measured(copies)
            total += pyperf.perf_counter() - start
        copies.close()
        bed.close()
        return total

    return run


def bench_beside_copies(made: pyperf.Runner, case: Case, name: str) -> None:
    """The two yardsticks, once for each size, count and pattern."""
    cell = Case("memcpy", case.size, case.dirty, case.pattern)
    plain = Case("full", case.size, case.dirty, case.pattern)
    made.bench_time_func(
        f"{name}/pages/{cell}", timed_copy(plain, Copies.copy_pages)
    )
    made.bench_time_func(
        f"{name}/all/{cell}", timed_copy(plain, Copies.copy_all)
    )
