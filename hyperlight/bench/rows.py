"""Two sides of a comparison, measured in turns, and what they should be."""

from __future__ import annotations

import itertools
import operator
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from hyperlight.bench.results import Limit, Line

__all__ = [
    "FIRST",
    "NOISE",
    "POINTS",
    "Check",
    "Effort",
    "Open",
    "Side",
    "Turns",
    "at_least",
    "at_most",
    "beside",
    "best_of",
    "grown",
    "thinned",
]

#: Two measurements of the same copy differ by this much on a shared machine.
NOISE = 0.05
#: Points of a line that a figure as narrow as a phone can show.
POINTS = 160
#: Those of them that are not medians of several.
FIRST = 64

Call = Callable[[], Any]


@dataclass(frozen=True)
class Effort:
    """How long to look."""

    seconds: float = 0.4  # for the turns of one comparison
    fresh: int = 3  # times that each is set up anew
    rounds: int = 4000  # at most


@dataclass(frozen=True)
class Side:
    """A call that is timed, and what comes before it."""

    timed: Call
    before: Call = lambda: None
    weight: float = 1


#: Sets up the side "before" or "after", and leaves there what undoes it.
Open = Callable[[str, ExitStack], Side]


@dataclass(frozen=True)
class Check:
    """What is compared, and how much of ``before`` ``after`` may take."""

    group: str
    what: str
    open: Open
    at_most: float = 1
    #: Rounds that it may take until that holds: they do not count.
    within: int = 0
    #: Where that is known not to hold, and why is said in the docs: what it
    #: may take before the gate calls it a change for the worse.
    bound: float | None = None

    def opened(self, stack: ExitStack) -> dict[str, Side]:
        """Two of each: code that runs more often than the other's is faster.

        And how much two of the same differ is the noise here and now.
        """
        return {
            "before": self.open("before", stack),
            "after": self.open("after", stack),
            "again": self.open("before", stack),
            "twin": self.open("after", stack),
        }

    def turns(self, effort: Effort) -> Turns:
        """Measure it, on what is set up for this alone."""
        with ExitStack() as stack:
            return Turns(
                self.opened(stack), effort, least=self.within + 5
            ).without(self.within)


def thinned(values: Sequence[float]) -> tuple[float, ...]:
    """As many as a figure has room for.

    The first ones, in which something heals, and medians of equal stretches
    of the rest.
    """
    head, rest = values[:FIRST], values[FIRST:]
    count = min(len(rest), POINTS - FIRST)
    edges = [len(rest) * number // (count or 1) for number in range(count + 1)]
    medians = (
        statistics.median(rest[start:end])
        for start, end in itertools.pairwise(edges)
    )
    return tuple(round(value, 4) for value in (*head, *medians))


def microseconds(call: Call) -> float:
    """How long it takes."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1000


class Turns:
    """Samples of several calls, round by round.

    The calls themselves are not kept: they may hold GiBs.
    """

    def __init__(
        self, sides: dict[str, Side], effort: Effort, least: int = 5
    ) -> None:
        self.weights: dict[str, float] = {
            name: side.weight for name, side in sides.items()
        }
        self.samples: dict[str, list[float]] = {name: [] for name in sides}
        self.first: dict[str, list[float]] = {name: [] for name in sides}
        self._run(sides, effort, least)

    def _run(self, sides: dict[str, Side], effort: Effort, least: int) -> None:
        """Take turns until the time is up.

        In an order that changes, since a call also pays for what the one
        before it left in the caches.
        """
        rng = random.Random(1)
        turns = list(sides.items())
        deadline = time.monotonic() + effort.seconds
        done = 0
        while done < least or (
            time.monotonic() < deadline and done < effort.rounds
        ):
            rng.shuffle(turns)
            for name, side in turns:
                side.before()
                self.samples[name].append(microseconds(side.timed))
            done += 1

    def without(self, rounds: int) -> Turns:
        """Itself, with these first rounds for a line only."""
        for name, samples in self.samples.items():
            self.first[name], self.samples[name] = (
                samples[:rounds],
                samples[rounds:],
            )
        return self

    def line(self, name: str, title: str) -> Line:
        """All that one call took."""
        return Line(title, thinned(self.first[name] + self.samples[name]))

    def median(self, name: str) -> float:
        """Of one call, in microseconds."""
        return statistics.median(self.samples[name])

    def total(self, names: Iterable[str]) -> float:
        """Weighted sum of medians."""
        parts = (self.median(n) * self.weights[n] for n in names)
        return sum(parts, 0.0)

    def ratio(self, one: str, others: Iterable[str]) -> float:
        """Median of one call over the weighted sum of others.

        Round by round: what slows a whole round down falls out of it.
        """
        names = list(others)
        weights = [self.weights[name] for name in names]
        rounds = zip(*(self.samples[name] for name in names), strict=True)
        sums: list[float] = [
            sum(map(operator.mul, weights, each)) for each in rounds
        ]
        pairs = zip(self.samples[one], sums, strict=True)
        return statistics.median(value / total for value, total in pairs)


def at_most(
    group: str,
    what: str,
    value: float,
    against: float,
    limit: float | None,
    *,
    ratio: float | None = None,
    noise: float = 0,
    unit: str = "µs",
    series: tuple[Line, ...] = (),
) -> Limit:
    """A row that is kept up to `limit`, or only shown without one."""
    found = value / against if ratio is None else ratio
    return Limit(
        group=group,
        what=what,
        value=value,
        unit=unit,
        against=against,
        ratio=found,
        limit="" if limit is None else f"<= {limit:g}",
        kept=None if limit is None else found <= limit * (1 + noise),
        noise=noise or None,
        series=series,
    )


def at_least(
    group: str,
    what: str,
    value: float,
    against: float,
    limit: float,
    *,
    times: float,
    noise: float = NOISE,
) -> Limit:
    """A row that is kept from so many times faster on."""
    return Limit(
        group=group,
        what=what,
        value=value,
        unit="µs",
        against=against,
        ratio=times,
        limit=f">= {limit:g}",
        kept=times >= limit * (1 - noise),
        noise=noise or None,
    )


def grown(
    group: str,
    noun: str,
    done: str,
    took: list[float],
    early: int,
    limit: float,
    average: Callable[[Iterable[float]], float] = statistics.median,
) -> Limit:
    """The last numbers beside those from `early` on.

    What is put off, and then done for several at once, asks for a mean.
    """
    window = min(100, len(took) // 2)
    first, last = took[early : early + window], took[-window:]
    return at_most(
        group,
        f"{noun} number {len(took)} {done}, against number {early}",
        average(last),
        average(first),
        limit,
        noise=NOISE,
        series=(Line(f"{done}, by number", thinned(took)),),
    )


def best_of(
    group: str, what: str, turns: Turns, limit: float | None, same: str
) -> Limit:
    """The side "auto" against the best of all others.

    How much it differs from what it is the `same` as is the noise.
    """
    others = [name for name in turns.weights if name != "auto"]
    best = min(others, key=turns.median)
    return at_most(
        group,
        f"{what}, against the best, {best}",
        turns.median("auto"),
        turns.median(best),
        limit,
        ratio=turns.ratio("auto", [best]),
        noise=max(NOISE, abs(turns.ratio("auto", [same]) - 1)),
        series=tuple(turns.line(name, name) for name in turns.weights),
    )


def beside(check: Check, effort: Effort) -> Limit:
    """The row of a check."""
    runs = [check.turns(effort) for _ in range(effort.fresh)]
    pairs = [
        (turns.ratio("after", ["before"]), turns.ratio("again", ["before"]))
        for turns in runs
    ]
    before, after = (
        statistics.median(turns.median(name) for turns in runs)
        for name in ("before", "after")
    )
    return at_most(
        check.group,
        check.what,
        after,
        before,
        check.at_most,
        ratio=statistics.median(ratio for ratio, _ in pairs),
        noise=max(NOISE, *(abs(same - 1) for _, same in pairs)),
        series=(
            runs[-1].line("before", "against"),
            runs[-1].line("after", "measured"),
        ),
    )
