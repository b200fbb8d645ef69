"""What a restore should cost, from pages, runs and size, and what it costs.

Usage: model.py [FILE.json]

The terms are measured on a few cells, and predict all the others. What a
page costs that is copied depends on where it is found: caches hold a few pages
beside their copies; of more pages, the copies alone, since they are written
past the caches; of many, neither. So there are three sets of the terms for
copying.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperlight.bench.host import PAGE, Bed, Case
from hyperlight.bench.rows import microseconds
from hyperlight.units import format_size

__all__ = ["FORMULA", "Shape", "Terms", "main", "measure"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SIZES = (MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB)
HUGE = 512  # pages
CACHED = 1024  # dirty pages that caches hold beside their copies
HALF = 4096  # ...of which they hold the copies
FRESH = 3  # times that a cell is set up anew to find a term
FORMULA = (
    "restore = constant + ask + small pages x walk + huge pages x walk_huge "
    "+ dirty pages x page + runs x run; no asking where all pages are hot"
)


@dataclass(frozen=True)
class Shape:
    """What the model knows of a cell."""

    pages: int
    dirty: int
    runs: int
    huge: int  # pages of 2 MiB that are whole

    @classmethod
    def of(cls, bed: Bed) -> Shape:
        """Tracking split the huge pages in which something is written."""
        apart = np.diff(bed.pages) > 1
        runs = int(apart.sum()) + (len(bed.pages) > 0)
        touched = len(np.unique(bed.pages // HUGE))
        total = bed.memory.page_count
        huge = total // HUGE - touched if bed.memory.size >= 64 * MIB else 0
        return cls(total, len(bed.pages), runs, huge)

    @property
    def asks(self) -> bool:
        """Not where all pages are hot."""
        return self.dirty < self.pages

    @property
    def small(self) -> int:
        """Small pages that collect looks at."""
        return self.pages - self.huge * HUGE


@dataclass(frozen=True)
class Terms:
    """Microseconds each."""

    constant: float
    ask: float
    walk: float
    walk_huge: float
    page: float
    run: float
    page_half: float
    run_half: float
    page_far: float
    run_far: float

    def looking(self, shape: Shape) -> float:
        """What it takes to find out what was written."""
        if not shape.asks:
            return 0
        walks = shape.small * self.walk + shape.huge * self.walk_huge
        return self.ask + walks

    def copying(self, shape: Shape) -> float:
        """What it takes to write it back."""
        page, run = self.page, self.run
        if shape.dirty > HALF:
            page, run = self.page_far, self.run_far
        elif shape.dirty > CACHED:
            page, run = self.page_half, self.run_half
        return shape.dirty * page + shape.runs * run

    def of(self, shape: Shape) -> float:
        """What a restore of this shape should take."""
        return self.constant + self.looking(shape) + self.copying(shape)


def _time(
    size: int, dirty: int, pattern: str, fresh: int = 1
) -> tuple[float, Shape]:
    """Median of a restore in a steady loop, and of some such loops."""
    medians = []
    for _ in range(fresh):
        bed = Bed(Case("auto", size, dirty, pattern))
        bed.settle()
        samples = []
        for _ in range(200 if dirty < 10000 else 20):
            bed.write()
            samples.append(microseconds(bed.manager.restore))
        shape = Shape.of(bed)
        bed.close()
        medians.append(statistics.median(samples))
    return statistics.median(medians), shape


def _terms() -> Terms:
    """Each from cells that differ by hardly anything else."""
    _time(16 * MIB, 1024, "dense", FRESH)  # the first is slower than others
    all_hot, hot_shape = _time(64 * KIB, 16, "dense", FRESH)
    little, little_shape = _time(MIB, 1, "dense", FRESH)
    more, more_shape = _time(16 * MIB, 1, "dense", FRESH)
    clean, clean_shape = _time(GIB, 1, "dense", FRESH)
    some, _ = _time(16 * MIB, 16, "dense", FRESH)
    dense, _ = _time(16 * MIB, 1024, "dense", FRESH)
    spread, _ = _time(16 * MIB, 1024, "spread", FRESH)
    page = (dense - some) / (1024 - 16)
    run = max((spread - dense) / 1024, 0)
    constant = max(all_hot - hot_shape.dirty * page - run, 0.5)
    walk = (more - little) / (more_shape.small - little_shape.small)
    ask = little - constant - page - run - little_shape.small * walk
    rest = clean - constant - ask - page - run - clean_shape.small * walk
    terms = Terms(
        *(constant, ask, walk, rest / clean_shape.huge),
        *(page, run, 0, 0, 0, 0),
    )
    page_half, run_half = _copying(terms, 32 * MIB, HALF)
    page_far, run_far = _copying(terms, 256 * MIB, 16384)
    return dataclasses.replace(
        terms,
        page_half=page_half,
        run_half=run_half,
        page_far=page_far,
        run_far=run_far,
    )


def _copying(terms: Terms, size: int, dirty: int) -> tuple[float, float]:
    """A page and a run, of so many pages together and apart."""
    found = []
    for pattern in ("dense", "spread"):
        took, shape = _time(size, dirty, pattern, FRESH)
        found.append((took - terms.constant - terms.looking(shape)) / dirty)
    return found[0], max(found[1] - found[0], 0)


def measure(sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    """Terms, and rows of what was measured beside what they say."""
    terms = _terms()
    rows = []
    for size in sizes:
        total = size // PAGE
        for dirty in sorted({1, 16, 256, 1024, total // 4, total}):
            if dirty > total:
                continue
            for pattern in ("spread", "clustered", "dense"):
                if dirty in (1, total) and pattern != "dense":
                    continue
                took, shape = _time(size, dirty, pattern)
                rows.append(
                    {
                        "what": f"{format_size(size)}, {dirty} pages "
                        f"{pattern}",
                        "measured": took,
                        "model": terms.of(shape),
                    }
                )
    return {"formula": FORMULA, "terms": vars(terms), "rows": rows}


def main() -> None:
    """Print it, and keep it."""
    found = measure()
    print(found["formula"])
    for name, value in found["terms"].items():
        print(f"  {name} {value:.4f} µs")
    for row in found["rows"]:
        ratio = row["measured"] / row["model"]
        print(
            f"{row['what']}: {row['measured']:,.1f} µs, model "
            f"{row['model']:,.1f}, {ratio:.2f}"
        )
    if len(sys.argv) > 1:
        text = json.dumps(found, indent=1)
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
