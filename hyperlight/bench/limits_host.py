"""The limits of memory of this process."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import subprocess
import sys
from collections.abc import Iterator

from hyperlight.bench import others
from hyperlight.bench.host import PAGE, Bed, Case, Copies
from hyperlight.bench.results import Limit
from hyperlight.bench.rows import (
    NOISE,
    Effort,
    Side,
    Turns,
    at_least,
    at_most,
    microseconds,
)
from hyperlight.units import format_size

__all__ = ["beside_others", "python_share", "restores", "snapshot_memory"]

SHARES = (0, 1, 16, 0.25, 0.5, 1.0)  # pages as a number, or as a share
MIB, GIB = 1 << 20, 1 << 30
IMPORT = "import hyperlight"


def restores(
    tracker: str, sizes: list[int], effort: Effort
) -> Iterator[Limit]:
    """Restore against memcpy of the pages, and against memmove of it all.

    Both in memory of the same kind that nothing tracks.
    """
    for size in sizes:
        total = size // PAGE
        counts = {
            int(share * total) if isinstance(share, float) else share
            for share in SHARES
        }
        for count in sorted(c for c in counts if c <= total):
            several = 1 < count < total
            for pattern in ("spread", "dense") if several else ("dense",):
                yield from _cell(Case(tracker, size, count, pattern), effort)


def _cell(case: Case, effort: Effort) -> Iterator[Limit]:
    """Medians of one cell's measurements."""
    runs = [_measure(case, effort) for _ in range(effort.fresh)]
    found = {
        name: statistics.median(run[name] for run in runs) for name in runs[0]
    }
    name = (
        f"restore, {format_size(case.size)}, {case.dirty} pages {case.pattern}"
    )
    if case.dirty:
        yield at_most(
            "restore",
            f"{name}, against 1.5 memcpy + collect",
            found["restore"],
            found["allowed"],
            1,
            ratio=found["of allowed"],
            noise=NOISE,
        )
    # As much as two such copies differ here and now, if that is more.
    noise = max(NOISE, *(abs(run["same"] - 1) for run in runs))
    many = (case.size, case.dirty) == (GIB, 16)
    yield at_least(
        "restore",
        f"{name}, against memmove of all of it",
        found["beside full"],
        found["full"],
        300 if many else 1,
        times=1 / found["of full"],
        noise=0 if many else noise,
    )


def _measure(case: Case, effort: Effort) -> dict[str, float]:
    """One cell, on fresh memory: where it lies makes a few percent."""
    bed = Bed(case)
    asking = Bed(case, "always")  # nothing hot: every collect asks
    twin = Bed(case)
    copies, again = Copies(bed), Copies(bed)
    beds = (bed, asking, twin)
    for each in beds:
        each.settle()
    for plain in (copies, again):
        plain.copy_all()
    restore = Side(bed.manager.restore, bed.write)
    allowed = ("pages", "collect")
    steady = Turns(
        {
            "restore": restore,
            "collect": Side(asking.manager.dirty, asking.write),
            "pages": Side(copies.copy_pages, copies.write, 1.5),
        },
        effort,
    )
    # Apart, because it leaves nothing of the others in the caches.  Both sides
    # twice: code that runs more often than the other's runs faster.
    beside = Turns(
        {
            "restore": restore,
            "twin": Side(twin.manager.restore, twin.write),
            "full": Side(copies.copy_all, copies.write),
            "again": Side(again.copy_all, again.write),
        },
        effort,
    )
    for plain in (copies, again):
        plain.close()
    for each in beds:
        each.close()
    return {
        "restore": steady.median("restore"),
        "allowed": steady.total(allowed),
        "of allowed": steady.ratio("restore", allowed),
        "beside full": beside.median("restore"),
        "full": beside.median("full"),
        "of full": beside.ratio("restore", ["full"]),
        "same": beside.ratio("again", ["full"]),
    }


def snapshot_memory() -> Iterator[Limit]:
    """Bytes that a snapshot holds against the pages that changed."""
    for count in (1, 16, 256, 4096):
        bed = Bed(Case("auto", GIB, count, "spread"))
        bed.write()
        held = bed.manager.take().nbytes
        bed.close()
        yield at_most(
            "memory",
            f"a snapshot's bytes, {count} of {GIB // PAGE} pages changed",
            held,
            count * PAGE,
            1.1,
            unit="bytes",
        )


def python_share(effort: Effort) -> Iterator[Limit]:
    """What is not C's of a restore, and what an import takes."""
    bed = Bed(Case("auto", 64 << 10, 1, "dense"))
    core = bed.manager._core
    assert core is not None
    bed.settle()
    whole: list[float] = []
    inside: list[float] = []
    empty: list[float] = []
    for _ in range(int(20000 * effort.seconds)):
        bed.write()
        whole.append(microseconds(bed.manager.restore))
        bed.write()
        inside.append(core.time_of_restore() / 1000)
        empty.append(microseconds(tuple))  # what a call and a clock take
    bed.close()
    took = statistics.median(whole) - statistics.median(empty)
    share = took - statistics.median(inside)
    yield Limit(
        group="Python",
        what="Python's share of a restore of 64 KiB, beside all of it",
        value=share,
        unit="µs",
        against=took,
        ratio=share / took,
        limit="<= 0.5 µs",
        kept=share <= 0.5,
    )
    turns = Turns(
        {
            "empty": Side(functools.partial(_interpreter, "")),
            "import": Side(functools.partial(_interpreter, IMPORT)),
        },
        dataclasses.replace(effort, seconds=effort.seconds * 5),
    )
    yield at_most(
        "Python",
        f"{IMPORT}, against an empty interpreter",
        turns.median("import"),
        turns.median("empty"),
        1.5,
        ratio=turns.ratio("import", ["empty"]),
    )


def _interpreter(code: str) -> None:
    """Start one, run this, and end it."""
    subprocess.run([sys.executable, "-c", code], check=True)


def beside_others(effort: Effort) -> Iterator[Limit]:
    """One iteration (write to the pages, put back) beside other ways."""
    size = 64 * MIB
    for count in (0, 1, 16, 256, 4096):
        case = Case("auto", size, count, "spread")
        for name, prepare in others.OTHERS.items():
            if not others.available(name):
                continue
            bed, way = Bed(case), prepare(case)
            bed.settle()

            def ours(bed: Bed = bed) -> None:
                bed.write()
                bed.manager.restore()

            turns = Turns(
                {"ours": Side(ours), "theirs": Side(way.step)}, effort
            )
            bed.close()
            row = at_least(
                "others",
                f"64 MiB, {count} pages, beside {name}",
                turns.median("ours"),
                turns.median("theirs"),
                1,
                times=1 / turns.ratio("ours", ["theirs"]),
            )
            # Private pages that nobody wrote are nothing to drop, and a
            # tracker has to look: shown, and not asked for.
            if name == "MADV_DONTNEED":
                row = dataclasses.replace(row, limit="", kept=None)
            yield row
