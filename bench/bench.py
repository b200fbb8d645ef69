"""The parts of the work, one by one, beside plain copies of the same pages.

restore  in a steady loop
take     the same
collect  asking what is dirty, without changing anything
fault    the first write to each of D armed pages: the whole batch of writes,
         so divide by D, and subtract the same batch with tracker `full`,
         which writes to pages that nobody armed
arm      restore with every page armed again, and with hot pages left unarmed:
         the core has no call that only arms, so the difference is what arming
         and looking once more at what was armed costs
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyperf  # type: ignore[import-untyped,unused-ignore]

from hyperlight import trackers
from hyperlight.bench.host import Bed, Case, Copies
from hyperlight.units import parse_size


def _restore(bed: Bed) -> object:
    return bed.manager.restore()


class Part(NamedTuple):
    """What comes before each measurement, what is measured, and how."""

    before: Callable[[Bed], Any]
    measured: Callable[[Bed], Any]
    #: The values of `rearm`; the name of a cell says which where there are
    #: two.
    rearm: tuple[str, ...] = ("adaptive",)


PARTS = {
    "restore": Part(Bed.write, _restore),
    "take": Part(Bed.write, lambda bed: bed.manager.take()),
    "collect": Part(Bed.write, lambda bed: bed.manager.dirty(), ("always",)),
    "fault": Part(_restore, Bed.write, ("always",)),
    "arm": Part(Bed.write, _restore, ("always", "adaptive")),
}


def runner(description: str) -> pyperf.Runner:
    """A pyperf runner that understands the grid's options."""
    made = pyperf.Runner(
        program_args=None, metadata={"description": description}
    )
    parser = made.argparser
    found = trackers()
    names = [t.name for t in found if t.available and t.driver is None]
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--trackers", default=",".join(names))
    parser.add_argument("--sizes", default="64KiB,1MiB,64MiB")
    parser.add_argument("--dirty", default="1,16,256")
    parser.add_argument("--patterns", default="spread,clustered,dense")
    made._add_cmdline_args = _pass_on  # workers get the same grid
    return made


def _pass_on(command: list[str], args: argparse.Namespace) -> None:
    for name in ("parts", "trackers", "sizes", "dirty", "patterns"):
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


def bench(made: pyperf.Runner, name: str) -> None:
    """All cells of one part."""
    part, seen = PARTS[name], set()
    for case in cases(made):
        for rearm in part.rearm:
            which = f"{name}/{rearm}" if len(part.rearm) > 1 else name
            made.bench_time_func(
                f"{which}/{case}",
                timed(case, part.before, part.measured, rearm),
            )
        if (cell := (case.size, case.dirty, case.pattern)) not in seen:
            seen.add(cell)
            bench_beside_copies(made, case, name)


def main() -> None:
    made = runner("parts")
    for name in made.parse_args().parts.split(","):
        bench(made, name)


if __name__ == "__main__":
    main()
