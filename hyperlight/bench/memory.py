"""Resident bytes of snapshots and of sandboxes, beside as many full copies.

Usage: memory.py [FILE.json]

What the kernel holds for a machine of KVM's besides is not this process's, and
not counted.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import mmap
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperlight import Sandbox, SandboxConfig, Snapshot, drivers, trackers
from hyperlight._binding import core
from hyperlight.bench.host import Bed, Case
from hyperlight.bench.results import Saved
from hyperlight.units import format_size

__all__ = ["USUAL", "Scale", "main", "measure", "used"]

MIB = 1 << 20


@dataclass(frozen=True)
class Scale:
    """How large, and how many."""

    size: int
    changed: tuple[int, ...]
    copies: int


USUAL = Scale(64 * MIB, (1, 16, 256), 8)


def used() -> tuple[int, int]:
    """Bytes that are this process's alone, and those of its page tables."""
    found = {"Private_Dirty": 0, "VmPTE": 0}
    for name in ("smaps_rollup", "status"):
        for line in Path("/proc/self", name).read_text().splitlines():
            key, _, value = line.partition(":")
            if key in found:
                found[key] = int(value.split()[0]) << 10
    return found["Private_Dirty"], found["VmPTE"]


def added(make: Callable[[], object]) -> tuple[int, int]:
    """What `make` added to these; what it returns is held meanwhile."""
    gc.collect()
    core.drop_blank_machines()
    before = used()
    held = make()
    after = used()
    del held
    return (
        max(after[0] - before[0], 0),
        max(after[1] - before[1], 0),
    )


def copy(of: bytes | memoryview) -> mmap.mmap:
    """A full one, in memory of its own."""
    made = mmap.mmap(-1, len(of))
    made[:] = of
    return made


def row(
    what: str, by: str, copies: int, make: Callable[[], Any], full: int
) -> Saved:
    """What `make` adds, beside what full copies did."""
    resident, tables = added(make)
    return Saved(what, by, copies, resident, tables, full)


def _host(tracker: str, scale: Scale, changed: int) -> Saved:
    bed = Bed(Case(tracker, scale.size, changed, "spread"))

    def snapshots() -> list[Snapshot]:
        made = []
        for _ in range(scale.copies):
            bed.write()
            made.append(bed.manager.take())
        return made

    view = memoryview(bed.memory)
    full = sum(added(lambda: [copy(view) for _ in range(scale.copies)]))
    view.release()
    found = row(
        f"snapshots of {format_size(scale.size)}, {changed} pages changed "
        f"before each",
        tracker,
        scale.copies,
        snapshots,
        full,
    )
    bed.close()
    return found


def _new(driver: str, tracker: str, scale: Scale) -> tuple[Sandbox, Any]:
    config = SandboxConfig(
        driver=driver, tracker=tracker, heap_size=scale.size
    )
    sandbox = Sandbox("simple", config=config)
    address = sandbox.call("Allocate", scale.size // 2)
    return sandbox, address


def _copies(sandbox: Sandbox, scale: Scale) -> int:
    """What full copies of its memory add."""
    whole = sandbox.snapshot()
    return sum(
        added(
            lambda: [
                copy(whole.read(0, whole.size)) for _ in range(scale.copies)
            ]
        )
    )


def _snapshots(driver: str, tracker: str, scale: Scale) -> Iterator[Saved]:
    sandbox, address = _new(driver, tracker, scale)
    with sandbox:
        full = _copies(sandbox, scale)
        for changed in scale.changed:

            def snapshots(changed: int = changed) -> list[Snapshot]:
                made = []
                for number in range(scale.copies):
                    size = changed * 4096
                    sandbox.call("FillHeap", address, size, number + 1)
                    made.append(sandbox.snapshot())
                return made

            yield row(
                f"snapshots of a sandbox with {format_size(scale.size)} of "
                f"heap, {changed} pages filled before each",
                f"{driver}, {sandbox.tracker}",
                scale.copies,
                snapshots,
                full,
            )


def _live(driver: str, tracker: str, scale: Scale) -> Saved:
    made: list[Sandbox] = []

    def living() -> None:
        for _ in range(scale.copies):
            sandbox, address = _new(driver, tracker, scale)
            made.append(sandbox)
            sandbox.call("FillHeap", address, 16 * 4096, 1)
            sandbox.restore()

    living()  # what the first of a process keeps for all
    while made:
        made.pop().close()
    resident, tables = added(living)
    full = _copies(made[0], scale)
    name = made[0].tracker
    while made:
        made.pop().close()
    return Saved(
        f"live sandboxes with {format_size(scale.size)} of heap, 16 pages "
        f"filled in each",
        f"{driver}, {name}",
        scale.copies,
        resident,
        tables,
        full,
    )


def _guests(driver: str, scale: Scale) -> Iterator[Saved]:
    own = [t.name for t in trackers() if t.available and t.driver == driver]
    for tracker in ("auto", *own[1:], "full"):
        yield _live(driver, tracker, scale)
        yield from _snapshots(driver, tracker, scale)


def measure(scale: Scale = USUAL) -> Iterator[Saved]:
    """Of each tracker of this process's memory, and each driver."""
    for info in trackers():
        if info.available and info.driver is None:
            for changed in scale.changed:
                yield _host(info.name, scale, changed)
    for driver in drivers():
        if driver.available:
            yield from _guests(driver.name, scale)


def as_markdown(found: Saved) -> str:
    """A line of the table."""
    return (
        f"| {found.copies} {found.what} | {found.by} | "
        f"{format_size(round(found.each))} | "
        f"{format_size(found.tables // found.copies)} | "
        f"{format_size(found.full // found.copies)} | {found.times:,.1f} |"
    )


def main() -> None:
    """Print a Markdown table, and keep it."""
    print(
        "| what | by | bytes each | of these page tables | full copy | times"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    rows = []
    for found in measure():
        rows.append(dataclasses.asdict(found))
        print(as_markdown(found), flush=True)
    if len(sys.argv) > 1:
        text = json.dumps(rows, indent=1)
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
