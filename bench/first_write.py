"""What tracking costs a page here, in copies of a page.

For systems that bench.py does not run on. Under Wine times are those of an
emulation, so these are ratios. Each is the median of some rounds, over pages
that lie apart.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable

from hyperlight import SharedMemory, SnapshotManager, trackers

PAGES, WRITTEN, ROUNDS = 4096, 256, 15
STEP = 4096 * (PAGES // WRITTEN)


def timed(call: Callable[[], object]) -> float:
    """In ns."""
    begun = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - begun


def copy_of_a_page() -> float:
    """What copying costs, of as many pages."""
    source, target = SharedMemory(PAGES * 4096), SharedMemory(PAGES * 4096)
    for memory in (source, target):
        memory.fill(0, memory.size, 1)

    def copy() -> None:
        ctypes.memmove(target.address, source.address, target.size)

    return statistics.median(timed(copy) for _ in range(ROUNDS)) / PAGES


def row(tracker: str, page: float) -> str:
    """A line of the table."""
    first, again, query, restore = [], [], [], []
    memory = SharedMemory(PAGES * 4096)
    memory.fill(0, memory.size, 1)
    with (
        memory,
        SnapshotManager(memory, tracker=tracker, rearm="always") as manager,
    ):
        base = manager.take()
        places = [memory.address + STEP * i for i in range(WRITTEN)]

        def write() -> None:
            for at in places:
                ctypes.memset(at, 7, 1)

        for _ in range(ROUNDS):
            first.append(timed(write))
            again.append(timed(write))
            query.append(timed(manager.dirty))
            restore.append(timed(lambda: manager.restore(base)))
    middle = statistics.median
    return (
        f"{tracker:11} {(middle(first) - middle(again)) / WRITTEN / page:8.1f}"
        f" {middle(query) / page:8.1f} {middle(restore) / WRITTEN / page:8.1f}"
        f" {middle(restore) / page / PAGES:8.2f}"
    )


def main() -> None:
    """Print the table."""
    page = copy_of_a_page()
    print(f"in copies of a page, of {page:.0f} ns:")
    print("            a first    query  restore: in copies of")
    print("              write           of each     everything")
    for info in trackers():
        if info.available and info.driver is None:
            print(row(info.name, page))


if __name__ == "__main__":
    main()
