"""The limits that are asked for, both sides of each in one run, interleaved.

Usage: limits.py [--tracker auto] [--sizes 64KiB,1MiB,64MiB,1GiB]

Prints a Markdown table: medians, their ratio, the limit, and whether it is
kept. A limit is a ratio, never a time. The exit status is 3 if one is missed.
"""

from __future__ import annotations

import argparse
import operator
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from grid import Bed, Case, Copies

from hyperlight.units import format_size, parse_size

SHARES = (0, 1, 16, 0.25, 0.5, 1.0)  # pages as a number, or as a share
BUDGET = 0.4  # seconds for one comparison
FRESH = 3  # times each is made
NOISE = 0.05  # two measurements of the same copy differ by this much


def microseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1000


class Row:
    """Interleaved samples of several calls."""

    def __init__(self, calls: dict[str, tuple[Any, Any]]) -> None:
        self.calls = calls
        self.samples: dict[str, list[float]] = {name: [] for name in calls}

    def run(self) -> None:
        """Take turns until the time is up.

        In an order that changes, since a call also pays for what the one
        before it left in the caches.
        """
        rng = random.Random(1)
        turns = list(self.calls.items())
        deadline = time.monotonic() + BUDGET
        rounds = 0
        while rounds < 5 or (time.monotonic() < deadline and rounds < 4000):
            rng.shuffle(turns)
            for name, (before, call) in turns:
                before()
                self.samples[name].append(microseconds(call))
            rounds += 1

    def median(self, name: str) -> float:
        """Of one call."""
        return statistics.median(self.samples[name])

    def ratio(self, one: str, weights: dict[str, float]) -> float:
        """Median of one call over a sum of others, round by round.

        What slows a whole round down falls out of it.
        """
        sums = [
            sum(map(operator.mul, weights.values(), others))
            for others in zip(
                *(self.samples[name] for name in weights), strict=True
            )
        ]
        return statistics.median(
            map(operator.truediv, self.samples[one], sums)
        )


def restore_rows(tracker: str, size: int) -> list[tuple[Any, ...]]:
    """Restore against memcpy of the pages, and against a full copy."""
    rows = []
    total = size // 4096
    counts = {
        int(share * total) if isinstance(share, float) else share
        for share in SHARES
    }
    for count in sorted(c for c in counts if c <= total):
        for pattern in (
            ("spread", "dense") if 1 < count < total else ("dense",)
        ):
            rows += cell_rows(Case(tracker, size, count, pattern))
    return rows


WEIGHTS = {"pages": 1.5, "collect": 1.0}


def measure(case: Case) -> dict[str, float]:
    """One cell, on fresh memory: where it lies makes a few percent."""
    bed = Bed(case)
    asking = Bed(case, "always")  # nothing hot: every collect asks
    full = Bed(Case("full", case.size, case.dirty, case.pattern))
    copies = Copies(bed)
    for each in (bed, asking, full):
        each.settle(12)
    copies.copy_all()
    restore = (bed.write, bed.manager.restore)
    steady = Row(
        {
            "restore": restore,
            "collect": (asking.write, asking.manager.dirty),
            "pages": (copies.write, copies.copy_pages),
        }
    )
    # Apart, because it leaves nothing of the others in the caches.
    beside = Row(
        {"restore": restore, "full": (full.write, full.manager.restore)}
    )
    steady.run()
    beside.run()
    copies.close()
    for each in (bed, asking, full):
        each.close()
    return {
        "restore": steady.median("restore"),
        "allowed": sum(
            steady.median(part) * by for part, by in WEIGHTS.items()
        ),
        "of allowed": steady.ratio("restore", WEIGHTS),
        "beside full": beside.median("restore"),
        "full": beside.median("full"),
        "of full": beside.ratio("restore", {"full": 1}),
    }


def cell_rows(case: Case) -> list[tuple[Any, ...]]:
    """Medians of one cell's measurements."""
    runs = [measure(case) for _ in range(FRESH)]
    found = {
        name: statistics.median(run[name] for run in runs) for name in runs[0]
    }
    name = f"{format_size(case.size)}, {case.dirty} pages {case.pattern}"
    rows: list[tuple[Any, ...]] = []
    if case.dirty:
        rows.append(
            (
                f"restore, {name}, against 1.5 memcpy + collect",
                found["restore"],
                found["allowed"],
                found["of allowed"],
                "<= 1",
                found["of allowed"] <= 1 + NOISE,
            )
        )
    times = 1 / found["of full"]
    least = 300 if (case.size, case.dirty) == (1 << 30, 16) else 1
    noise = NOISE if least == 1 else 0
    rows.append(
        (
            f"restore, {name}, against full",
            found["beside full"],
            found["full"],
            times,
            f">= {least}",
            times >= least * (1 - noise),
        )
    )
    return rows


def snapshot_memory_rows() -> list[tuple[Any, ...]]:
    """Bytes that a snapshot holds against the pages that changed."""
    rows = []
    for count in (1, 16, 256, 4096):
        bed = Bed(Case("auto", 1 << 30, count, "spread"))
        bed.write()
        held = bed.manager.take().nbytes
        bed.close()
        ratio = held / (count * 4096)
        rows.append(
            (
                f"snapshot's memory, {count} of 262144 pages",
                held,
                count * 4096,
                ratio,
                "<= 1.1",
                ratio <= 1.1,
            )
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tracker", default="auto")
    parser.add_argument("--sizes", default="64KiB,1MiB,64MiB,1GiB")
    args = parser.parse_args()
    print("| what | µs (bytes) | against | ratio | limit | kept |")
    print("| --- | ---: | ---: | ---: | --- | --- |")
    missed = 0

    def show(rows: list[tuple[Any, ...]]) -> None:
        nonlocal missed
        for name, one, other, ratio, limit, kept in rows:
            print(
                f"| {name} | {one:,.1f} | {other:,.1f} | {ratio:,.2f} | "
                f"{limit} | {'yes' if kept else 'NO'} |",
                flush=True,
            )
            missed += not kept

    for size in map(parse_size, args.sizes.split(",")):
        show(restore_rows(args.tracker, size))
    if "1GiB" in args.sizes:
        show(snapshot_memory_rows())
    return 3 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
