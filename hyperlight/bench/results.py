"""A directory of benchmark results: what it holds, read and checked.

Every ``*.json`` in it is the pyperf suite of one *side* ("before", "after",
a tracker, an alternative), but for the files that `read` names. Of the sides,
``before.json`` and ``after.json`` have to be there, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyperf  # type: ignore[import-untyped,unused-ignore]

from hyperlight.bench.parts import (
    Counted,
    Limit,
    Line,
    Model,
    Phases,
    Programs,
    Saved,
)
from hyperlight.bench.typed import ResultsError, load
from hyperlight.units import parse_size

__all__ = [
    "Comparison",
    "Counted",
    "Cut",
    "Limit",
    "Line",
    "Model",
    "Phases",
    "Programs",
    "Results",
    "ResultsError",
    "Saved",
    "Timing",
    "read",
]

BEFORE, AFTER, FLOOR = "before", "after", "memcpy"
TRACKERS = (
    "uffd",
    "uffd-sigbus",
    "sigsegv",
    "softdirty",
    "kvm-ring",
    "kvm-log",
    "full",
)
PATTERNS = ("spread", "clustered", "dense")
GROUPS = (
    "guest_functions",
    "large_parameters",
    "sandbox_heap_sizes",
    "host_memory",
)
NOTICEABLE = 0.05  # two runs of the same code differ by this much
USUAL_DIRTY = 16  # the count of pages that cost against size is shown for

Verdict = Literal["faster", "equal", "slower"]
Axis = Literal["size", "dirty"]


def _rank(known: Iterable[str], name: str) -> tuple[int, str]:
    """Sorts known names as they are listed, and others after them."""
    order = tuple(known)
    return order.index(name) if name in order else len(order), name


@dataclass(frozen=True)
class Timing:
    """Seconds that one benchmark takes."""

    median: float
    spread: float
    """Median absolute deviation."""
    driver: str = ""
    """Where it is of a sandbox: whose machine it was."""

    @property
    def relative(self) -> float:
        """The spread as a share of the median."""
        return self.spread / self.median


@dataclass(frozen=True)
class Cell:
    """One benchmark of the group ``host_memory``."""

    size: int
    dirty: int
    pattern: str

    @property
    def order(self) -> tuple[int, int, tuple[int, str]]:
        """Sorts by size, then pages, then pattern."""
        return self.size, self.dirty, _rank(PATTERNS, self.pattern)


@dataclass(frozen=True)
class Comparison:
    """One benchmark without and with tracking."""

    group: str
    name: str
    before: Timing
    after: Timing
    cell: Cell | None = None

    @property
    def driver(self) -> str:
        """Of a sandbox: the driver of both; empty in older results."""
        return " / ".join(
            dict.fromkeys((self.before.driver, self.after.driver))
        )

    @property
    def speedup(self) -> float:
        """Above 1 if tracking wins."""
        return self.before.median / self.after.median

    @property
    def noise(self) -> float:
        """The least relative difference that counts for these two."""
        least = min(self.before.median, self.after.median)
        return max(
            NOTICEABLE, (self.before.spread + self.after.spread) / least
        )

    @property
    def verdict(self) -> Verdict:
        """Whether tracking is faster or slower, if that can be told."""
        if max(self.speedup, 1 / self.speedup) - 1 <= self.noise:
            return "equal"
        return "faster" if self.speedup > 1 else "slower"


@dataclass(frozen=True)
class Cut:
    """Cost along one axis of ``host_memory``, the other held."""

    axis: Axis
    held: int
    pattern: str
    lines: Mapping[str, tuple[tuple[int, Timing], ...]]
    """By side; ascending along the axis."""


@dataclass(frozen=True)
class Results:
    """All that is known of a run."""

    sides: Mapping[str, Mapping[str, Timing]]
    """By side, then by ``GROUP/NAME``; in the order of importance."""
    limits: tuple[Limit, ...] = ()
    cliffs: tuple[Limit, ...] = ()
    programs: Programs | None = None
    memory: tuple[Saved, ...] = ()
    elsewhere: tuple[Counted, ...] = ()
    phases: Phases | None = None
    model: Model | None = None
    machine: Mapping[str, str] = field(default_factory=dict)

    def comparisons(self) -> list[Comparison]:
        """What both sides measured, by group in the order of the page."""
        before, after = (self.sides.get(side, {}) for side in (BEFORE, AFTER))
        found = [
            Comparison(*_split(name), before[name], after[name], _cell(name))
            for name in before
            if name in after
        ]
        # Stable: other groups keep the order in which they were measured.
        return sorted(
            found,
            key=lambda c: (
                _rank(GROUPS, c.group),
                c.cell.order if c.cell else (),
            ),
        )

    def one_sided(self) -> list[str]:
        """Benchmarks that only one of before and after has."""
        before, after = (self.sides.get(side, {}) for side in (BEFORE, AFTER))
        return sorted(before.keys() ^ after.keys())

    def beside_after(self) -> dict[str, list[float]]:
        """By other side: its times over those with tracking, ascending."""
        after = self.sides.get(AFTER, {})
        ratios = {
            side: sorted(
                timing.median / after[name].median
                for name, timing in timings.items()
                if name in after
            )
            for side, timings in self.sides.items()
            if side not in (BEFORE, AFTER)
        }
        return {side: found for side, found in ratios.items() if found}

    def cost_by_size(self) -> Cut | None:
        """The dirty count that most sizes share: 16 if it is one of them."""
        return max(
            self._cuts("size"),
            key=lambda cut: (
                len(cut.lines[AFTER]),
                cut.held == USUAL_DIRTY,
                cut.held > 0,
                -cut.held,
                len(cut.lines),
            ),
            default=None,
        )

    def cost_by_dirty(self) -> Cut | None:
        """The largest of the sizes that most sides measured."""
        return max(
            self._cuts("dirty"),
            key=lambda cut: (len(cut.lines), cut.held, len(cut.lines[AFTER])),
            default=None,
        )

    def _cuts(self, axis: Axis) -> list[Cut]:
        """Every line of two points or more that before and after share."""
        found: dict[tuple[int, str], dict[str, list[tuple[int, Timing]]]] = {}
        for side, timings in self.sides.items():
            for name, timing in timings.items():
                if cell := _cell(name):
                    ends = cell.size, cell.dirty
                    at, held = ends if axis == "size" else ends[::-1]
                    lines = found.setdefault((held, cell.pattern), {})
                    lines.setdefault(side, []).append((at, timing))
        return [
            Cut(
                axis,
                held,
                pattern,
                {
                    side: tuple(sorted(line, key=lambda point: point[0]))
                    for side, line in lines.items()
                },
            )
            for (held, pattern), lines in sorted(
                found.items(), key=lambda item: _rank(PATTERNS, item[0][1])
            )
            if len(lines.get(BEFORE, ())) > 1 and len(lines.get(AFTER, ())) > 1
        ]


EXTRAS: dict[str, Any] = {
    "limits": tuple[Limit, ...],
    "cliffs": tuple[Limit, ...],
    "programs": Programs,
    "memory": tuple[Saved, ...],
    "elsewhere": tuple[Counted, ...],
    "phases": Phases,
    "model": Model,
    "machine": dict[str, str],
}


def _split(name: str) -> tuple[str, str]:
    group, slash, rest = name.partition("/")
    return (group, rest) if slash else ("other", name)


def _cell(name: str) -> Cell | None:
    match = re.fullmatch(r"host_memory/restore_([^_]+)_(\d+)_(\w+)", name)
    if match is None:
        return None
    try:
        return Cell(parse_size(match[1]), int(match[2]), match[3])
    except ValueError:
        return None


def read(directory: Path) -> Results:
    """Read a directory.

    Beside the sides, or instead of them, it may hold ``limits.json``,
    ``cliffs.json``, ``programs.json``, ``memory.json``, ``elsewhere.json``,
    ``phases.json`` and ``model.json``; beside any, ``machine.json``.

    Raises:
        ResultsError: ``before.json`` or ``after.json`` is missing, they share
            no benchmark, or a file is not what it should be; says which.
    """
    found = {path.stem: path for path in directory.glob("*.json")}
    extras = {name: found.pop(name) for name in EXTRAS if name in found}
    if found or not extras.keys() - {"machine"}:
        _check_sides(directory, found)
    others: dict[str, Any] = {
        name: load(EXTRAS[name], path) for name, path in extras.items()
    }
    order = partial(_rank, (BEFORE, AFTER, FLOOR, *TRACKERS))
    sides = {side: _suite(found[side]) for side in sorted(found, key=order)}
    if sides and not sides[BEFORE].keys() & sides[AFTER].keys():
        raise ResultsError(
            f"{directory}: before.json and after.json share no benchmark"
        )
    return Results(sides, **others)


def _check_sides(directory: Path, found: Mapping[str, Path]) -> None:
    """A side alone says nothing."""
    for side in (BEFORE, AFTER):
        if side not in found:
            raise ResultsError(
                f"{directory / side}.json is missing: a report compares "
                f"before.json (tracking off) with after.json (tracking on)"
            )


def _suite(path: Path) -> dict[str, Timing]:
    try:
        suite = pyperf.BenchmarkSuite.load(str(path))
        units = {bench.get_unit() for bench in suite}
        timings = {
            bench.get_name(): Timing(
                bench.median(),
                bench.median_abs_dev(),
                str(bench.get_metadata().get("driver", "")),
            )
            for bench in suite
        }
    except Exception as error:  # pyperf fails in whatever way it comes to
        raise ResultsError(
            f"{path}: cannot be read as a pyperf suite: {error!r}"
        ) from error
    if units != {"second"}:
        raise ResultsError(f"{path}: not all of its values are seconds")
    return timings
