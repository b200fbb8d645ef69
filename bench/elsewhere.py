"""What can be seen here of systems that this machine is not.

Usage: elsewhere.py [--fake current|older|all|whp | --host]
                    [--cells PATTERN] [-o FILE.json]

Over the fake of /dev/mshv, the grid of PR #683 is counted: queries, pages
asked about, pages that were reported and pages copied. A fake has no times.
--fake whp: the same on Windows, over the fake of its library.
With --host, restores of this process's memory are compared with a memmove of
all of it, as ratios: for Wine, which is neither Windows nor fast. Needs
nothing but the library, since Wine's Python has nothing else; the fake needs a
build with HYPERLIGHT_FAULT_INJECTION=1. The file goes into a directory of
results as ``elsewhere.json``.
"""

from __future__ import annotations

import argparse
import ctypes
import fnmatch
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
MIB = 1 << 20
ROUNDS = 16  # counted, after as many that are not
PAGE = 4096

Row = dict[str, Any]


def _cells(guests: Any) -> Iterator[tuple[str, dict[str, Any], Any, Any]]:
    """(name in the grid, configuration, what is counted, what precedes it)."""
    nothing = guests.nothing
    yield "guest_functions/guest_call", {}, guests.call, nothing
    yield "guest_functions/guest_restore", {}, guests.restore, guests.call
    yield (
        *("guest_functions/guest_call_with_restore", {}),
        *(guests.call_and_restore, nothing),
    )
    yield (
        *("guest_functions/guest_call_with_host_function", {}),
        *(guests.call_host_function, nothing),
    )
    for size in (5, 20, 60):
        yield (
            f"large_parameters/guest_call_restore_{size}mb_params",
            guests.LARGE,
            guests.call_large(size),
            nothing,
        )
    for name, config in guests.HEAPS.items():
        group = "sandbox_heap_sizes"
        yield (
            *(f"{group}/guest_call_restore_{name}_heap", config),
            *(guests.call_and_restore, nothing),
        )
        yield (
            *(f"{group}/snapshot_{name}_heap", config),
            *(guests.snapshot, guests.call),
        )


Counts = Callable[[], dict[str, float]]


def _mshv(interface: str) -> tuple[str, Counts]:
    """What rows are by, and what to count; before the core is imported."""
    from fake import mshv

    os.environ[mshv.INTERFACE] = interface
    mshv.provide()
    if not mshv.is_provided():
        raise SystemExit("the fake needs HYPERLIGHT_FAULT_INJECTION=1")
    fake = mshv.load()
    fake.reset()
    fake.switch(mshv.Switch.OLDER, int(interface == "older"))
    return f"mshv, {interface} interface", lambda: {
        "queries": fake.count(mshv.Kind.QUERY),
        "hypercalls": fake.count(mshv.Counter.HYPERCALLS),
        "pages asked about": fake.count(mshv.Counter.PAGES_ASKED),
        "pages reported": fake.count(mshv.Counter.PAGES_TOLD),
    }


def _whp() -> tuple[str, Counts]:
    from fake import whp

    if not whp.is_provided():
        raise SystemExit(f"the fake is the library that {whp.LIBRARY} names")
    fake = whp.load()
    fake.reset()
    return "whp", lambda: {
        "queries": fake.count(whp.Kind.QUERY),
        "pages asked about": fake.count(whp.Counter.PAGES_ASKED),
        "pages reported": fake.count(whp.Counter.PAGES_TOLD),
    }


def counted(which: str, pattern: str) -> Iterator[Row]:
    """Each cell of the grid, over the fake that this process has."""
    sys.path.insert(0, str(TESTS))
    by, of_fake = _whp() if which == "whp" else _mshv(which)
    from hyperlight.bench import guests

    driver = by.partition(",")[0]
    for name, config, act, before in _cells(guests):
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        with guests.new("after", driver, **config) as sandbox:

            def counts(sandbox: Any = sandbox) -> dict[str, float]:
                stats = sandbox.stats
                return {
                    **of_fake(),
                    "pages copied": stats["pages_copied"],
                    "pages stored": stats["pages_stored"],
                }

            def rounds(
                number: int,
                sandbox: Any = sandbox,
                act: Any = act,
                before: Any = before,
            ) -> None:
                for _ in range(number):
                    before(sandbox)
                    act(sandbox)

            rounds(ROUNDS)
            first = counts()
            rounds(ROUNDS)
            last = counts()
            yield {
                "what": name,
                "by": f"{by}, {sandbox.tracker}",
                "values": {
                    key: round((last[key] - first[key]) / ROUNDS, 2)
                    for key in first
                },
            }


def _case(
    stack: ExitStack, tracker: str, size: int, dirty: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """(what tracking does, what a memmove of everything does)."""
    import hyperlight

    def filled() -> Any:
        memory = stack.enter_context(hyperlight.SharedMemory(size))
        memory.fill(0, size, 1)
        return memory

    memory, twin, source = filled(), filled(), filled()
    manager = stack.enter_context(
        hyperlight.SnapshotManager(memory, tracker=tracker)
    )
    manager.take()
    offsets = [i * (size // max(dirty, 1)) & -PAGE for i in range(dirty)]

    def write(to: Any) -> None:
        for offset in offsets:
            to.write(offset, b"x")

    def track() -> None:
        write(memory)
        manager.restore()

    def move() -> None:
        write(twin)
        ctypes.memmove(twin.address, source.address, size)

    return track, move


def ratios(pattern: str) -> Iterator[Row]:
    """Writing and restoring, beside writing and copying all, in turns."""
    import hyperlight

    found = [t for t in hyperlight.trackers() if t.available]
    names = [t.name for t in found if t.driver is None]
    for size in (MIB, 16 * MIB, 64 * MIB):
        for dirty in (0, 1, 16, 256, size // PAGE):
            name = f"host_memory/restore_{size // MIB}MiB_{dirty}_spread"
            if not fnmatch.fnmatchcase(name, pattern):
                continue
            for tracker in names:
                with ExitStack() as stack:
                    sides = _case(stack, tracker, size, dirty)
                    took: tuple[list[int], list[int]] = ([], [])
                    for number in range(3 * ROUNDS):
                        for side, times in zip(sides, took, strict=True):
                            start = time.perf_counter_ns()
                            side()
                            if number >= ROUNDS:
                                times.append(time.perf_counter_ns() - start)
                track, move = map(statistics.median, took)
                yield {
                    "what": name,
                    "by": f"{sys.platform}, {tracker}",
                    "values": {"of a memmove of all": round(track / move, 4)},
                }


def main() -> int:
    """Print each row, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--fake", choices=("current", "older", "all", "whp"), default="all"
    )
    parser.add_argument("--host", action="store_true")
    parser.add_argument("--cells", default="*")
    parser.add_argument("-o", "--output")
    args = parser.parse_args()
    if not args.host and args.fake == "all":
        return _both(args)
    rows = []
    found = ratios(args.cells) if args.host else counted(args.fake, args.cells)
    for row in found:
        rows.append(row)
        values = ", ".join(f"{k} {v:g}" for k, v in row["values"].items())
        print(f"{row['what']} ({row['by']}): {values}", flush=True)
    if args.output:
        _add(Path(args.output), rows)
    return 0 if rows else 1


def _both(args: argparse.Namespace) -> int:
    """A process has one fake."""
    status = 0
    for interface in ("current", "older"):
        command = [sys.executable, __file__, "--fake", interface]
        command += ["--cells", args.cells]
        command += ["-o", args.output] if args.output else []
        status |= subprocess.call(command)
    return status


def _add(path: Path, rows: list[Row]) -> None:
    """To what the file has: each system is a run of its own."""
    had = json.loads(path.read_text("utf-8")) if path.exists() else []
    text = json.dumps([*had, *rows], indent=1)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
