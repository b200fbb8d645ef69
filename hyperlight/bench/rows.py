"""Two sides of a comparison, measured in turns, and what they should be."""

from __future__ import annotations

import operator
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hyperlight.bench.results import Limit

__all__ = ["NOISE", "Effort", "Side", "Turns", "at_least", "at_most"]

#: Two measurements of the same copy differ by this much on a shared machine.
NOISE = 0.05

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


def microseconds(call: Call) -> float:
    """How long it takes."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1000


class Turns:
    """Samples of several calls, round by round."""

    def __init__(self, sides: dict[str, Side], effort: Effort) -> None:
        self.sides = sides
        self.samples: dict[str, list[float]] = {name: [] for name in sides}
        self._run(effort)

    def _run(self, effort: Effort) -> None:
        """Take turns until the time is up.

        In an order that changes, since a call also pays for what the one
        before it left in the caches.
        """
        rng = random.Random(1)
        turns = list(self.sides.items())
        deadline = time.monotonic() + effort.seconds
        done = 0
        while done < 5 or (
            time.monotonic() < deadline and done < effort.rounds
        ):
            rng.shuffle(turns)
            for name, side in turns:
                side.before()
                self.samples[name].append(microseconds(side.timed))
            done += 1

    def median(self, name: str) -> float:
        """Of one call, in microseconds."""
        return statistics.median(self.samples[name])

    def total(self, names: Iterable[str]) -> float:
        """Weighted sum of medians."""
        parts = (self.median(n) * self.sides[n].weight for n in names)
        return sum(parts, 0.0)

    def ratio(self, one: str, others: Iterable[str]) -> float:
        """Median of one call over the weighted sum of others.

        Round by round: what slows a whole round down falls out of it.
        """
        names = list(others)
        weights = [self.sides[name].weight for name in names]
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
