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
from contextlib import ExitStack
from dataclasses import dataclass

import click

from hyperlight import drivers
from hyperlight.bench import cliffs
from hyperlight.bench.cliffs_host import never_slower
from hyperlight.bench.guests import call_and_restore, call_large, new
from hyperlight.bench.host import Case
from hyperlight.bench.rows import Check, Effort, Open, Side
from hyperlight.units import format_size

__all__ = ["Verdict", "main", "verdict"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
EFFORT = Effort(0.25, 1)
LEAST = 0.02  # no two things are equal to less
NEVER = "never slower"
#: Of what is counted up once: those beside few of a kind are few themselves.
OF_NUMBERS = 0.1
#: Repeats of the cliffs: what they need is expensive to set up.
FEWER = 3


@dataclass(frozen=True)
class Verdict:
    """What came of a check: medians over its repeats."""

    ratio: float
    noise: float
    kept: bool


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
                NEVER,
                f"restore {format_size(size)}, {dirty} pages",
                never_slower(case),
            )
    many = Case("auto", GIB, 16, "spread")
    yield Check(NEVER, "restore 1 GiB, 16 pages", never_slower(many), 1 / 300)
    if any(info.available for info in drivers()):
        yield Check(NEVER, "call + restore, default", _call(call_and_restore))
        yield Check(
            NEVER,
            "call + restore, 64 MiB heap",
            _call(call_and_restore, heap_size=64 * MIB),
        )
        yield Check(
            NEVER,
            "call with 1 MiB + restore",
            _call(call_large(1), input_size=4 * MIB),
        )


def verdict(pairs: list[tuple[float, float]], at_most: float) -> Verdict:
    """Of (after / before, before / before again), one for each repeat."""
    ratio = statistics.median(one for one, _ in pairs)
    noise = max(LEAST, *(abs(same - 1) for _, same in pairs))
    return Verdict(ratio, noise, ratio <= at_most * (1 + noise))


def _pair(check: Check) -> tuple[float, float]:
    """On fresh memory: where it lies matters."""
    turns = check.turns(EFFORT)
    return turns.ratio("after", ["before"]), turns.ratio("again", ["before"])


def judge(check: Check, repeats: int) -> Verdict:
    """What seems to fail is measured for longer.

    Some of so many checks lie beyond a noise that few repeats show.
    """
    at_most = check.bound or check.at_most
    pairs = [_pair(check) for _ in range(repeats)]
    if not verdict(pairs, at_most).kept:
        pairs += [_pair(check) for _ in range(2 * repeats)]
    return verdict(pairs, at_most)


def named(check: Check) -> tuple[str, float]:
    """What it is, and how much of before it may take."""
    if check.bound is None:
        return check.what, check.at_most
    known = f" (beyond its limit of {check.at_most:g}, as the docs say)"
    return check.what + known, check.bound


def verdicts(repeats: int) -> Iterator[tuple[str, Verdict, float]]:
    """(what, what came of it, how much of before it may take)."""
    for check in checks():
        what, most = named(check)
        yield what, judge(check, repeats), most
    fewer = min(repeats, FEWER)
    for check in cliffs.checks():
        what, most = named(check)
        yield what, judge(check, fewer), most
    for rows in zip(*(cliffs.many() for _ in range(fewer)), strict=True):
        limit = float(rows[0].limit.removeprefix("<= "))
        ratio = statistics.median(row.ratio for row in rows)
        kept = ratio <= limit * (1 + OF_NUMBERS)
        yield rows[0].what, Verdict(ratio, OF_NUMBERS, kept), limit


@click.command(help=__doc__.partition("\n")[0] if __doc__ else "")
@click.option("--repeats", default=5, show_default=True)
def main(repeats: int) -> None:
    """Print a line for each check; end with 1 if one failed."""
    failed = 0
    for what, found, at_most in verdicts(repeats):
        failed += not found.kept
        print(
            f"{'ok    ' if found.kept else 'FAILED'} {what}: "
            f"{found.ratio:.4f} of before, at most {at_most:.4f}, "
            f"noise {found.noise:.1%}",
            flush=True,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
