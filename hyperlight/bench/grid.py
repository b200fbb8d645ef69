"""The grid of PR #683, and the same for memory of this process, by pyperf.

Usage: grid.py --side after [--match 'guest_functions/*'] [--driver NAME]
               -o after.json

A *side* is one way to put memory back: ``before`` copies all of it (a memmove,
or, for a guest's memory, a sandbox that tracks nothing), ``after`` tracks what
was written, the name of a tracker uses that one, and others are
what one would use without this library. Benchmarks have the same names on
every side, so ``pyperf compare_to before.json after.json`` tells.

Benchmarks of sandboxes carry their driver; where one is asked for by name, it
is a part of theirs: ``guest_functions/guest_call@emulator``.

host_memory: one iteration writes a word to each of so many pages, and puts
everything back. Both are timed, since tracking makes writes slower.
"""

from __future__ import annotations

import argparse
import fnmatch
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyperf  # type: ignore[import-untyped,unused-ignore]

from hyperlight import trackers
from hyperlight.bench import guests, others
from hyperlight.bench.host import PAGE, Bed, Case, Copies
from hyperlight.units import format_size

__all__ = ["Cell", "cells", "chosen", "sides"]

Run = Callable[[int], float]
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = (64 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB, 4 * GIB)
COUNTS = (0, 1, 16, 256, 4096)
SHARES = (0.25, 0.5, 1)
PATTERNS = ("spread", "clustered", "dense")
#: Of these, one pattern and fewer counts: what a report needs.
COARSE_SIZES = (64 * KIB, MIB, 64 * MIB, GIB, 4 * GIB)
COARSE_COUNTS = (1, 16, 4096)
COARSE_SHARES = (0.25, 1)
#: What takes seconds an iteration beyond.
LARGEST_OTHER = GIB


@dataclass(frozen=True)
class Cell:
    """One benchmark: its name, and its sides."""

    name: str
    sides: tuple[str, ...]
    prepare: Callable[[str, str], Run]
    guest: bool = False

    def named(self, driver: str) -> str:
        """Its name where a sandbox's driver was asked for by name."""
        return f"{self.name}@{driver}" if driver != "auto" else self.name


def sides() -> tuple[str, ...]:
    """Those that memory of this process has here."""
    found = trackers()
    names = [t.name for t in found if t.available and t.driver is None]
    libraries = filter(others.available, others.OTHERS)
    # The first is the one that `after` uses.
    return ("before", "after", "memcpy", *names[1:-1], *libraries)


def _step(side: str, case: Case) -> Callable[[], object]:
    """One iteration of the loop that is timed."""
    if side in others.OTHERS:
        return others.OTHERS[side](case).step
    tracker = {"before": "full", "after": "auto", "memcpy": "full"}
    bed = Bed(
        Case(tracker.get(side, side), case.size, case.dirty, case.pattern)
    )
    if side in ("before", "memcpy"):  # in memory that nothing tracks
        copies = Copies(bed)
        ways = {"before": copies.copy_all, "memcpy": copies.copy_pages}
        put_back = ways[side]

        def copy() -> None:
            copies.write()
            put_back()

        return copy
    bed.settle()

    def step() -> None:
        bed.write()
        bed.manager.restore()

    return step


def _host(case: Case) -> Callable[[str, str], Run]:
    def prepare(side: str, _driver: str) -> Run:
        made: list[Callable[[], object]] = []

        def run(loops: int) -> float:
            if not made:  # in the worker that measures, and once
                made.append(_step(side, case))
                for _ in range(4):
                    made[0]()
            step = made[0]
            start = time.perf_counter()
            for _ in range(loops):
                step()
            return time.perf_counter() - start

        return run

    return prepare


def _host_cells(coarse: bool) -> list[Cell]:
    found = []
    for size in COARSE_SIZES if coarse else SIZES:
        total = size // PAGE
        shares = COARSE_SHARES if coarse else SHARES
        counts = {int(total * share) for share in shares}
        counts |= {*(COARSE_COUNTS if coarse else COUNTS)}
        some = tuple(
            side
            for side in sides()
            if size <= LARGEST_OTHER or side not in others.OTHERS
        )
        for count in sorted(n for n in counts if n <= total):
            # None, one and all of the pages have no pattern.
            several = 1 < count < total
            for pattern in PATTERNS if several and not coarse else ("spread",):
                case = Case("", size, count, pattern)
                name = f"restore_{format_size(size).replace(' ', '')}"
                found.append(
                    Cell(
                        f"host_memory/{name}_{count}_{pattern}",
                        some,
                        _host(case),
                    )
                )
    return found


def cells(coarse: bool = False) -> list[Cell]:
    """All of them, in the order of the report."""
    both = ("before", "after")
    return [
        *(
            Cell(name, both, made, guest=True)
            for name, made in guests.cells().items()
        ),
        *_host_cells(coarse),
    ]


def chosen(patterns: tuple[str, ...], coarse: bool = False) -> list[Cell]:
    """Those whose name, or whose group's, one of the patterns matches."""
    return [
        cell
        for cell in cells(coarse)
        if any(
            fnmatch.fnmatchcase(name, pattern)
            for name in (cell.name, cell.name.partition("/")[0])
            for pattern in patterns or ("*",)
        )
    ]


def _pass_on(command: list[str], args: argparse.Namespace) -> None:
    for name in ("side", "match", "driver"):
        command.extend((f"--{name}", getattr(args, name)))


def main() -> None:
    """A pyperf script; its workers find their benchmark by the same name."""
    runner = pyperf.Runner(
        processes=3,
        values=4,
        min_time=0.05,
        add_cmdline_args=_pass_on,
    )
    parser = runner.argparser
    parser.add_argument("--side", default="after")
    parser.add_argument("--match", default="*")
    parser.add_argument("--driver", default="auto")
    args = runner.parse_args()
    for cell in chosen((args.match,)):
        if args.side not in cell.sides:
            continue
        run = cell.prepare(args.side, args.driver)
        if cell.guest:
            about = {"driver": guests.driver_of(args.driver)}
            name = cell.named(args.driver)
            runner.bench_time_func(name, run, metadata=about)
        else:
            runner.bench_time_func(cell.name, run)


if __name__ == "__main__":
    main()
