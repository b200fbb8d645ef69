"""What is short, alone and beside a Python thread that computes.

Whoever gives the GIL away waits for the switch interval to get it back, so
what takes microseconds should keep it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from hyperlight import SharedMemory, SnapshotManager
from hyperlight.bench.guests import call_and_restore, new
from hyperlight.bench.results import Limit, Line
from hyperlight.bench.rows import Effort, at_most, thinned

__all__ = ["beside_a_busy_thread"]

SIZE = 64 << 10
#: Shares of a core come in whole switch intervals.
NOISE = 0.1
ALONE, BESIDE = 0.05, 0.1  # seconds of a round


@contextmanager
def busy() -> Iterator[None]:
    """A thread that computes in Python."""
    ends = False

    def compute() -> None:
        number = 0
        while not ends:
            number += 1

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        ends = True
        thread.join()


def each(act: Callable[[], object], seconds: float) -> float:
    """Microseconds that one takes, of a loop that runs so long."""
    done, start = 0, time.perf_counter()
    end = start + seconds
    while (now := time.perf_counter()) < end:
        act()
        done += 1
    return (now - start) / done * 1e6


def acts(
    driver: str | None, stack: ExitStack
) -> Iterator[tuple[str, Callable[[], object], float | None]]:
    """(name, one of it, how much longer it may take): None is only shown."""
    memory = stack.enter_context(SharedMemory(SIZE))
    memory.fill(0, SIZE, 7)
    manager = stack.enter_context(SnapshotManager(memory))
    manager.take()
    view = stack.enter_context(memoryview(memory))
    kept = bytes(view)
    twin = stack.enter_context(memoryview(bytearray(kept)))

    def restore() -> None:
        view[0] = 1
        manager.restore()

    def take() -> None:
        view[0] = 1
        manager.take()

    def dirty() -> None:
        view[0] = 1
        manager.dirty()

    def copy() -> None:
        view[:] = kept

    def copy_twin() -> None:
        twin[:] = kept

    yield "restore of 64 KiB", restore, 3
    yield "take of 64 KiB", take, 3
    yield "dirty() of 64 KiB", dirty, 3
    yield "memoryview copy of 64 KiB", copy, 2
    yield "memoryview copy of a bytearray of 64 KiB", copy_twin, None
    if driver is not None:
        sandbox = stack.enter_context(new("after", driver))
        yield "Sandbox.restore", sandbox.restore, 3
        yield "call + restore", lambda: call_and_restore(sandbox), None


def beside_a_busy_thread(
    driver: str | None, effort: Effort
) -> Iterator[Limit]:
    """One thread that computes takes half of the time: no more should go."""
    rounds = max(3, round(effort.seconds * 10))
    with ExitStack() as stack:
        for name, act, limit in acts(driver, stack):
            each(act, ALONE / 5)
            alone, beside = [], []
            for _ in range(rounds):
                alone.append(each(act, ALONE))
                with busy():
                    beside.append(each(act, BESIDE))
            yield at_most(
                "the GIL beside a busy thread",
                f"{name} beside a busy Python thread, against alone",
                statistics.median(beside),
                statistics.median(alone),
                limit,
                noise=NOISE if limit else 0,
                series=(
                    Line("alone", thinned(alone)),
                    Line("beside a busy thread", thinned(beside)),
                ),
            )
