"""Phases after which cost could cease to follow what changed.

Each row has what it takes where nothing happened (or without tracking, or
beside the best of all ways), what it takes afterwards, and both over the
iterations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hyperlight import drivers
from hyperlight.bench import cliffs_gil, cliffs_guest, cliffs_host
from hyperlight.bench.results import Limit
from hyperlight.bench.rows import Check, Effort, beside

__all__ = ["SMALL", "USUAL", "Scale", "checks", "measure"]

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Scale:
    """How large, and how many."""

    sparse: tuple[int, ...]
    ring: tuple[int, ...]
    cooled: int
    split: tuple[int, ...]
    far: tuple[int, ...]
    shares: tuple[float, ...]
    dirty: tuple[int, ...]
    sandboxes: tuple[int, int]  # beside how few, and how many
    managers: tuple[int, int]


USUAL = Scale(
    sparse=(GIB, 4 * GIB, 16 * GIB),
    ring=(15_000, 20_000, 60_000),
    cooled=256 * MIB,
    split=(64 * MIB, 256 * MIB, GIB),
    far=(MIB, 64 * MIB, 256 * MIB),
    shares=(0.1, 0.3, 0.6, 1),
    dirty=(64 * KIB, MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB),
    sandboxes=(10, 1000),
    managers=(40, 4000),
)
#: For a look at what is measured, not at a result.
SMALL = Scale(
    sparse=(GIB,),
    ring=(100,),
    cooled=4 * MIB,
    split=(4 * MIB,),
    far=(MIB,),
    shares=(0.3,),
    dirty=(64 * KIB,),
    sandboxes=(4, 20),
    managers=(10, 100),
)
#: What takes seconds: for the gate.
SOME = Scale(
    sparse=(4 * GIB,),
    ring=(20_000,),
    cooled=64 * MIB,
    split=(256 * MIB,),
    far=(64 * MIB,),
    shares=(0.1, 0.6),
    dirty=(),
    sandboxes=(10, 300),
    managers=(40, 2000),
)


def measure(scale: Scale, driver: str, effort: Effort) -> Iterator[Limit]:
    """All rows, cliff by cliff."""
    found = driver if any(info.available for info in drivers()) else None
    host = cliffs_host
    yield from cliffs_gil.beside_a_busy_thread(found, effort)
    yield from cliffs_gil.two_threads(found, effort)
    yield from host.sparse_beside_best(scale.sparse, effort)
    yield from host.sparse_takes(scale.sparse, effort)
    if found:
        yield from cliffs_guest.ring(scale.ring, effort)
    for check in (
        *host.cooled(host.usable(), scale.cooled),
        *host.split(scale.split),
        *host.far(("auto", "sigsegv"), scale.far, scale.shares),
    ):
        yield beside(check, effort)
    if found:
        for check in cliffs_guest.creation(found):
            yield beside(check, effort)
        yield from cliffs_guest.many(found, *scale.sandboxes)
    yield from host.managers(*scale.managers)
    for check in host.everything(scale.dirty):
        yield beside(check, effort)


def checks(scale: Scale = SOME) -> Iterator[Check]:
    """Those that take turns, for the gate."""
    host = cliffs_host
    yield from host.sparse(
        scale.sparse, [name for name in host.usable() if name == "sigsegv"]
    )
    if any(info.available for info in drivers()):
        for count in scale.ring:
            yield from cliffs_guest.ring_against_log(count)
        yield from cliffs_guest.creation("auto")
    yield from host.cooled(host.usable(), scale.cooled)
    yield from host.split(scale.split)
    yield from host.far(("auto",), scale.far, scale.shares)


def many(scale: Scale = SOME) -> Iterator[Limit]:
    """Those that depend on how many there are, for the gate."""
    if any(info.available for info in drivers()):
        yield from cliffs_guest.many("auto", *scale.sandboxes)
    yield from cliffs_host.managers(*scale.managers)
