"""A steady loop whose dirty pages stay, move, grow and shrink.

Usage: phases.py [FILE.json]

Each iteration writes a word to each of some pages and restores; the time is
the restore's. Beside it, the same pages are put back by a memmove of all of
the memory, in memory that nothing tracks.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperlight.bench.host import PAGE, Bed, Case, Copies
from hyperlight.bench.rows import microseconds

__all__ = ["main", "measure"]

MIB = 1 << 20
SIZE = 256 * MIB
REPEATS = 3


@dataclass(frozen=True)
class Phase:
    """So many iterations that write to the same pages."""

    name: str
    pages: tuple[int, int, int]  # first, count, step
    iterations: int = 60


PHASES = (
    Phase("256 pages", (0, 256, 64)),
    Phase("moved", (16384, 256, 64)),
    Phase("moved, half of them", (16384 + 128 * 64, 256, 64)),
    Phase("grown to 4096", (16384, 4096, 8)),
    Phase("shrunk to 16", (16384, 16, 64)),
    Phase("all of them", (0, SIZE // PAGE, 1)),
    Phase("16 again", (0, 16, 64), 120),
)


def measure(size: int = SIZE, repeats: int = REPEATS) -> dict[str, Any]:
    """Medians over some runs of the whole story, iteration by iteration."""
    runs = [_run(size) for _ in range(repeats)]

    def medians(key: str) -> list[float]:
        return [
            statistics.median(values)
            for values in zip(*(run[key] for run in runs), strict=True)
        ]

    starts, at = [], 0
    for phase in PHASES:
        starts.append({"name": phase.name, "start": at})
        at += phase.iterations
    return {
        "tracker": runs[0]["tracker"],
        "size": size,
        "phases": starts,
        "iterations": at,
        "restore": medians("restore"),
        "full": medians("full"),
        "dirty": medians("dirty"),
        "hot": medians("hot"),
    }


def _run(size: int) -> dict[str, Any]:
    bed = Bed(Case("auto", size, 0, "dense"))
    copies = Copies(bed)
    names = ("restore", "full", "dirty", "hot")
    found: dict[str, Any] = {name: [] for name in names}
    bed.settle()
    copies.copy_all()
    for phase in PHASES:
        first, count, step = phase.pages
        pages = first + np.arange(count) * step
        bed.pages = copies.pages = pages[pages < bed.memory.page_count]
        bed.first_words = bed.pages * 512
        for _ in range(phase.iterations):
            bed.write()
            found["restore"].append(microseconds(bed.manager.restore))
            copies.write()
            found["full"].append(microseconds(copies.copy_all))
            found["dirty"].append(len(bed.pages))
            found["hot"].append(bed.manager.stats["hot_pages"])
    found["tracker"] = bed.manager.tracker
    copies.close()
    bed.close()
    return found


def main() -> None:
    """Print the medians of each phase, and keep it all."""
    found = measure()
    ends = [phase["start"] for phase in found["phases"][1:]]
    for phase, end in zip(
        found["phases"], [*ends, found["iterations"]], strict=True
    ):
        inside = slice(phase["start"], end)
        restore, full = found["restore"][inside], found["full"][inside]
        print(
            f"{phase['name']}: first {restore[0]:,.0f} µs, median "
            f"{statistics.median(restore):,.0f}, worst {max(restore):,.0f}; "
            f"full copy {statistics.median(full):,.0f}"
        )
    if len(sys.argv) > 1:
        text = json.dumps(found)
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
