"""Where the cost of sandboxes could leave what a guest wrote."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import itertools
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from hyperlight import Sandbox, SandboxConfig, drivers, trackers
from hyperlight.bench.guests import call_and_restore, new
from hyperlight.bench.results import Limit, Line
from hyperlight.bench.rows import (
    NOISE,
    Check,
    Effort,
    Open,
    Side,
    Turns,
    at_most,
    best_of,
    grown,
    microseconds,
    thinned,
)
from hyperlight.guest import GuestBuildError, build

__all__ = ["creation", "many", "ring", "ring_against_log"]

RING = "more pages than the dirty ring"
CREATION = "sandboxes made and closed"
EACH_MACHINE = (
    "Each range of memory that is unmapped is a question of the kernel to "
    "every machine of the process."
)
GIB = 1 << 30
TURNED = 60
#: Writes a word to each of so many pages.
WRITER = """#include <hyperlight.h>
#include <stdlib.h>
static char *memory;
void hl_init(void) { memory = malloc(256L << 20); }
HL_EXPORT(dirty, "Dirty(int64, int64) -> none") {
    for (int64_t i = 0; i < hl_arg_i64(0); i++)
        *(volatile int64_t *)(memory + i * 4096) = hl_arg_i64(1);
}
"""


@functools.cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """Where a guest lies until this process ends."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    return made


@functools.cache
def writer() -> Path | None:
    """The guest that writes to many pages; None without a compiler."""
    source = Path(folder().name, "writer.c")
    source.write_text(WRITER, encoding="utf-8")
    try:
        return build(source, source.with_suffix(""))
    except (FileNotFoundError, GuestBuildError):
        return None


def kvm_trackers() -> list[str]:
    """Those that KVM has here; the first is what `auto` takes."""
    usable = {info.name for info in drivers() if info.available}
    if "kvm" not in usable:
        return []
    return [t.name for t in trackers() if t.available and t.driver == "kvm"]


def writing(guest: Path, count: int, tracker: str, stack: ExitStack) -> Side:
    """A call that writes to so many pages, and a restore."""
    config = SandboxConfig(driver="kvm", tracker=tracker, heap_size="512MiB")
    sandbox = stack.enter_context(Sandbox(guest, config=config))
    rounds = itertools.count(1)

    def step() -> None:
        sandbox.call("Dirty", count, next(rounds))
        sandbox.restore()

    for _ in range(6):
        step()
    return Side(step)


def ring(counts: Iterable[int], effort: Effort) -> Iterator[Limit]:
    """The default tracker against the better of ring and log."""
    own = kvm_trackers()
    guest = writer() if len(own) > 1 else None
    if guest is None:
        return
    for count in counts:
        with ExitStack() as stack:
            sides = {
                name: writing(guest, count, name, stack)
                for name in ("auto", *own)
            }
            turns = Turns(sides, effort, least=12)
        yield best_of(
            RING,
            f"call that writes {count:,} pages + restore",
            turns,
            1.1,
            own[0],
        )


def ring_against_log(count: int) -> Iterator[Check]:
    """The same as a check."""
    guest = writer() if len(kvm_trackers()) > 1 else None
    if guest is None:
        return

    def opened(side: str, stack: ExitStack) -> Side:
        tracker = "auto" if side == "after" else "kvm-log"
        return writing(guest, count, tracker, stack)

    yield Check(
        RING,
        f"call that writes {count:,} pages + restore, against kvm-log",
        opened,
        1.1,
    )


def made_and_closed(driver: str, **config: int) -> Callable[[], None]:
    """One sandbox that is not used."""

    def step() -> None:
        new("after", driver, **config).close()

    return step


def creation(driver: str) -> Iterator[Check]:
    """Made and closed, against a call + restore, and of a large heap."""

    def opening(before: Open, **config: int) -> Open:
        def opened(side: str, stack: ExitStack) -> Side:
            if side == "before":
                return before(side, stack)
            step = made_and_closed(driver, **config)
            step()
            return Side(step)

        return opened

    def calling(_side: str, stack: ExitStack) -> Side:
        sandbox = stack.enter_context(new("after", driver))
        for _ in range(30):
            call_and_restore(sandbox)
        return Side(lambda: call_and_restore(sandbox))

    def smaller(_side: str, _stack: ExitStack) -> Side:
        made_and_closed(driver)()
        return Side(made_and_closed(driver))

    yield Check(
        CREATION,
        "a sandbox made and closed, against call + restore",
        opening(calling),
        25,
    )
    yield Check(
        CREATION,
        "a sandbox made and closed, 1 GiB heap against default",
        opening(smaller, heap_size=GIB),
        1.5,
    )


def many(driver: str, early: int, late: int) -> Iterator[Limit]:
    """Made beside few that live, beside many, and closed."""
    held: list[Sandbox] = []
    made_and_closed(driver)()  # what the first of a process finds out
    made = [
        microseconds(lambda: held.append(new("after", driver)))
        for _ in range(late)
    ]
    turned = [microseconds(made_and_closed(driver)) for _ in range(TURNED)]
    closed = [microseconds(lambda: held.pop().close()) for _ in range(late)]
    few = [new("after", driver) for _ in range(early)]
    again = [microseconds(made_and_closed(driver)) for _ in turned]
    for sandbox in few:
        sandbox.close()
    closed.reverse()
    yield grown(CREATION, "live sandbox", "made", made, early, 1.5)
    row = grown(
        CREATION,
        "live sandbox",
        "closed",
        closed,
        early,
        1.5,
        statistics.fmean,
    )
    yield dataclasses.replace(row, why=EACH_MACHINE)
    yield at_most(
        CREATION,
        f"a sandbox made and closed beside {late} live ones, against {early}",
        statistics.median(turned),
        statistics.median(again),
        1.5,
        noise=NOISE,
        series=(
            Line(f"beside {early}", thinned(again)),
            Line(f"beside {late}", thinned(turned)),
        ),
    )
