"""Fails where tracking has become slower than it should be.

Usage: gate.py [--repeats 5]

Both sides of each comparison take turns in one process, and so does a second
copy of each. For memory of this process, the first is a memmove of all of it,
in memory that nothing tracks. How much the two that track nothing differ is
the noise here and now: only what lies beyond it is a failure. The exit status
is 1 then. To be run by hand and as ``tox -e gate``, not among the tests: it is
about time.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import click

from hyperlight import drivers
from hyperlight.bench.guests import call_and_restore, call_large, new
from hyperlight.bench.host import Bed, Case, Copies
from hyperlight.bench.rows import Effort, Side, Turns
from hyperlight.units import format_size

__all__ = ["Verdict", "main", "verdict"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
EFFORT = Effort(0.25, 1)
LEAST = 0.02  # no two things are equal to less

Open = Callable[[str, ExitStack], Side]


@dataclass(frozen=True)
class Check:
    """What is compared, and how much of ``before`` ``after`` may take."""

    name: str
    open: Open
    at_most: float = 1


@dataclass(frozen=True)
class Verdict:
    """What came of a check: medians over its repeats."""

    ratio: float
    noise: float
    kept: bool


def _restore(case: Case) -> Open:
    def opened(side: str, stack: ExitStack) -> Side:
        bed = Bed(case)
        stack.callback(bed.close)
        if side == "before":  # without the library: memmove of all of it
            copies = Copies(bed)
            stack.callback(copies.close)
            copies.copy_all()
            return Side(copies.copy_all, copies.write)
        bed.settle()
        return Side(bed.manager.restore, bed.write)

    return opened


def _call(act: Callable[..., None], **config: int) -> Open:
    def opened(side: str, stack: ExitStack) -> Side:
        sandbox = stack.enter_context(new(side, "auto", **config))
        for _ in range(20):
            act(sandbox)
        return Side(lambda: act(sandbox))

    return opened


def checks() -> Iterator[Check]:
    """Never slower, and as much faster as is asked for."""
    for size, share in (
        (64 * KIB, (0, 1, 8, 16)),
        (MIB, (0, 1, 16, 128, 256)),
        (16 * MIB, (2048, 4096)),
        (64 * MIB, (1, 16, 4096, 8192, 16384)),
        (256 * MIB, (65536,)),
    ):
        for dirty in share:
            case = Case("auto", size, dirty, "spread")
            yield Check(
                f"restore {format_size(size)}, {dirty} pages", _restore(case)
            )
    many = Case("auto", GIB, 16, "spread")
    yield Check("restore 1 GiB, 16 pages", _restore(many), 1 / 300)
    if any(info.available for info in drivers()):
        yield Check("call + restore, default", _call(call_and_restore))
        yield Check(
            "call + restore, 64 MiB heap",
            _call(call_and_restore, heap_size=64 * MIB),
        )
        yield Check(
            "call with 1 MiB + restore",
            _call(call_large(1), input_size=4 * MIB),
        )


def verdict(pairs: list[tuple[float, float]], at_most: float) -> Verdict:
    """Of (after / before, before / before again), one for each repeat."""
    ratio = statistics.median(one for one, _ in pairs)
    noise = max(LEAST, *(abs(same - 1) for _, same in pairs))
    return Verdict(ratio, noise, ratio <= at_most * (1 + noise))


@contextmanager
def _opened(check: Check) -> Iterator[dict[str, Side]]:
    # Two of each: code that runs more often than the other's runs faster.
    with ExitStack() as stack:
        yield {
            "before": check.open("before", stack),
            "after": check.open("after", stack),
            "again": check.open("before", stack),
            "twin": check.open("after", stack),
        }


def judge(check: Check, repeats: int) -> Verdict:
    """Measure it on fresh memory each time: where it lies matters."""
    pairs = []
    for _ in range(repeats):
        with _opened(check) as sides:
            turns = Turns(sides, EFFORT)
            pairs.append(
                (
                    turns.ratio("after", ["before"]),
                    turns.ratio("again", ["before"]),
                )
            )
    return verdict(pairs, check.at_most)


@click.command(help=__doc__.partition("\n")[0] if __doc__ else "")
@click.option("--repeats", default=5, show_default=True)
def main(repeats: int) -> None:
    """Print a line for each check; end with 1 if one failed."""
    failed = 0
    for check in checks():
        found = judge(check, repeats)
        failed += not found.kept
        print(
            f"{'ok    ' if found.kept else 'FAILED'} {check.name}: "
            f"{found.ratio:.4f} of before, at most {check.at_most:.4f}, "
            f"noise {found.noise:.1%}",
            flush=True,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
