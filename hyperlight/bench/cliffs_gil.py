"""What is short, beside a Python thread that computes; two threads at once.

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
from hyperlight.bench.host import Bed, Case
from hyperlight.bench.results import Limit, Line
from hyperlight.bench.rows import Effort, at_most, thinned

__all__ = ["beside_a_busy_thread", "two_threads"]

SIZE = 64 << 10
#: Shares of a core come in whole switch intervals.
NOISE = 0.1
ALONE, BESIDE = 0.05, 0.1  # seconds of a round
RESTORES = {
    "16 pages of 64 MiB written and restored": 16,
    "4096 pages of 64 MiB written and restored": 4096,
}
CALLED = "call + restore"
MAPPED = "100 calls and restores by Sandbox.map"


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


def _own(name: str, driver: str, stack: ExitStack) -> Callable[[], object]:
    """What one thread does, with memory or a sandbox of its own."""
    if name in RESTORES:
        bed = Bed(Case("auto", 64 << 20, RESTORES[name], "spread"))
        stack.callback(bed.close)
        bed.settle()

        def loop() -> None:
            bed.write()
            bed.manager.restore()

        return loop
    sandbox = stack.enter_context(new("after", driver))
    if name == MAPPED:
        hello = [("hello",)] * 100
        return lambda: sandbox.map("Echo", hello)
    return lambda: call_and_restore(sandbox)


def together(acts: list[Callable[[], object]], seconds: float) -> float:
    """Microseconds of the clock for one, of all that these threads do."""
    ready = threading.Barrier(len(acts))
    took: list[float] = []

    def work(act: Callable[[], object]) -> None:
        ready.wait()
        took.append(each(act, seconds))

    threads = [threading.Thread(target=work, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 1 / sum(1 / one for one in took)


def two_threads(driver: str | None, effort: Effort) -> Iterator[Limit]:
    """Each with memory or a sandbox of its own, against one of them.

    Half would be all that two cores can do.
    """
    names = [*RESTORES, *((CALLED, MAPPED) if driver else ())]
    for name in names:
        with ExitStack() as stack:
            pair = [_own(name, driver or "", stack) for _ in range(2)]
            one, two = [], []
            for _ in range(max(3, round(effort.seconds * 10))):
                one.append(together(pair[:1], BESIDE))
                two.append(together(pair, BESIDE))
        yield at_most(
            "two threads",
            f"{name} in two threads, against one",
            statistics.median(two),
            statistics.median(one),
            None,
            series=(
                Line("one thread", thinned(one)),
                Line("two threads", thinned(two)),
            ),
        )
