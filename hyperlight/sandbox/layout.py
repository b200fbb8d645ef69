"""Where everything lies in a guest's memory."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hyperlight._binding import core
from hyperlight.errors import LayoutError
from hyperlight.units import format_size

__all__ = ["MemoryLayout", "Region"]

Kind = Literal["tracked", "read-only", "scratch", "tables"]

PAGE = 4096
_READ, _WRITE, _EXECUTE = 1, 2, 4
_LIMIT = 1 << 47

_TABLES = 0x10000  # the lowest addresses are never mapped
_PIE_BASE = 4 << 20
_LOWEST_IMAGE = 1 << 20
# A hypervisor has devices of its own between 3 and 4 GiB.
_HOLE, _HOLE_END = 3 << 30, 4 << 30


@dataclass(frozen=True)
class Region:
    """A named stretch of guest memory, in whole pages."""

    #: Its name, such as ``heap``.
    name: str
    #: Guest-physical address, which equals the guest's virtual address.
    address: int
    #: Bytes.
    size: int
    #: ``"r--"``, ``"rw-"``, ``"r-x"``, or ``"---"``: no access for the guest.
    permissions: str
    #: ``tracked``: in every snapshot. ``read-only``: the guest cannot change
    #: it. ``scratch``: never in a snapshot, and scrubbed. ``tables``: what the
    #: processor needs.
    kind: Kind

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.address + self.size

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.address <= address < self.end


class MemoryLayout:
    """The regions of a guest, ascending by address, with gaps between them.

    Args:
        regions: In any order.

    Raises:
        LayoutError: Two regions overlap or share a name; or a region is empty,
            not in whole pages, out of reach, or both writable and executable.

    ``layout["heap"]`` is a region; ``print(layout)`` shows a table.
    """

    def __init__(self, regions: Iterable[Region]) -> None:
        self._regions = tuple(sorted(regions, key=lambda r: r.address))
        self._by_name = {region.name: region for region in self._regions}
        for region in self._regions:
            _check(region)
        for one, other in zip(self._regions, self._regions[1:], strict=False):
            if one.end > other.address:
                raise LayoutError(
                    f"region {one.name!r} ({one.address:#x} to {one.end:#x}) "
                    f"overlaps {other.name!r}, which starts at "
                    f"{other.address:#x}"
                )
        if len(self._by_name) < len(self._regions):
            raise LayoutError("two regions have the same name")

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions, ascending by address."""
        return self._regions

    @property
    def tracked(self) -> tuple[Region, ...]:
        """The regions that snapshots hold."""
        return tuple(r for r in self._regions if r.kind == "tracked")

    @property
    def size(self) -> int:
        """Bytes of all regions together."""
        return sum(region.size for region in self._regions)

    def find(self, address: int) -> Region | None:
        """The region that an address lies in, or None for a gap."""
        return next((r for r in self._regions if address in r), None)

    def __getitem__(self, name: str) -> Region:
        return self._by_name[name]

    def __iter__(self) -> Iterator[Region]:
        return iter(self._regions)

    def __len__(self) -> int:
        return len(self._regions)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MemoryLayout):
            return NotImplemented
        return self._regions == other._regions

    def __hash__(self) -> int:
        return hash(self._regions)

    def __str__(self) -> str:
        rows = [("region", "address", "size", "access", "kind")]
        rows += [
            (
                r.name,
                f"{r.address:#x}",
                format_size(r.size),
                r.permissions,
                r.kind,
            )
            for r in self._regions
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows
        )

    def __repr__(self) -> str:
        return (
            f"<MemoryLayout of {len(self)} regions, {format_size(self.size)}>"
        )


def _check(region: Region) -> None:
    name = f"region {region.name!r}"
    if region.size <= 0:
        raise LayoutError(f"{name} is empty")
    if region.address % PAGE or region.size % PAGE:
        raise LayoutError(
            f"{name} ({region.address:#x}, {region.size:#x} bytes) is not in "
            f"whole pages of {PAGE} bytes"
        )
    if region.address < 0 or region.end > _LIMIT:
        raise LayoutError(
            f"{name} ends at {region.end:#x}, but guests can only reach up to "
            f"{_LIMIT:#x}"
        )
    if len(region.permissions) != 3 or not all(
        have in (letter, "-")
        for have, letter in zip(region.permissions, "rwx", strict=True)
    ):
        raise LayoutError(f"{name}: bad permissions: {region.permissions!r}")
    if region.permissions[1:] == "wx":
        raise LayoutError(f"{name} is both writable and executable")


@dataclass(frozen=True)
class Plan:
    """A layout, and how to build the machine for it."""

    layout: MemoryLayout
    #: Added to the addresses in the guest's file.
    base: int
    #: (address, size, logged) in the order of host memory.
    slots: tuple[tuple[int, int, bool], ...]
    #: (address, size, permissions) of what the guest can reach at first.
    mapped: tuple[tuple[int, int, int], ...]

    @functools.cached_property
    def spans(self) -> dict[str, tuple[int, int]]:
        """(address, size) by name of the region."""
        return {r.name: (r.address, r.size) for r in self.layout}


def bits_of(permissions: str) -> int:
    """As the core has them."""
    return sum(
        bit
        for bit, letter in ((_READ, "r"), (_WRITE, "w"), (_EXECUTE, "x"))
        if letter in permissions
    )


def _text(bits: int) -> str:
    pairs = ((_READ, "r"), (_WRITE, "w"), (_EXECUTE, "x"))
    return "".join(c if bits & bit else "-" for bit, c in pairs)


def plan(facts: Mapping[str, Any], config: Any) -> Plan:
    """Lay out a guest, described by the `facts` of its file, by a config.

    Host memory, and the guest's as far as it can: [tables][input][what of the
    image is read-only] and then, as the one range that is tracked, [what is
    written of the image][thread][stack][heap][output], with an unmapped page
    before each of the last three.
    """
    base, low, high = image_place(facts, "guest")
    written = base + facts["writable"]
    regions = image_regions(facts, base, written)
    tracked = _Row(written, high)
    regions += [
        tracked.add("thread", _thread_size(facts)),
        tracked.add("stack", config.stack_size, gap=PAGE),
        tracked.add("heap", config.heap_size, gap=PAGE),
        tracked.add("output", config.output_size, gap=PAGE, kind="scratch"),
    ]
    room = _Row(tracked.at, tracked.at)
    regions.append(
        room.add("input", config.input_size + core.REPLY_SIZE, PAGE, "scratch")
    )
    mapped = tuple(
        (r.address, r.size, bits_of(r.permissions)) for r in regions
    )
    tables = Region(
        "tables", _TABLES, core.tables_size(_TABLES, mapped), "---", "tables"
    )
    if tables.end > _LOWEST_IMAGE:
        raise LayoutError(
            f"the page tables of {format_size(config.heap_size)} of heap are "
            f"too large"
        )
    slots = [
        (tables.address, tables.size, False),
        (regions[-1].address, regions[-1].size, False),
    ]
    if written > low:
        slots.append((low, written - low, False))
    slots += [(start, end - start, True) for start, end in tracked.parts()]
    return Plan(MemoryLayout([tables, *regions]), base, tuple(slots), mapped)


def image_place(facts: Mapping[str, Any], whose: str) -> tuple[int, int, int]:
    """What is added to an image's addresses, where it begins and ends.

    Raises:
        LayoutError: It does not lie where images may.
    """
    base = _PIE_BASE if facts["pie"] else 0
    low, high = base + facts["low"], base + facts["high"]
    if low < _LOWEST_IMAGE or high > _HOLE:
        raise LayoutError(
            f"the {whose}'s image ({low:#x} to {high:#x}) does not lie "
            f"between {_LOWEST_IMAGE:#x} and {_HOLE:#x}"
        )
    return base, low, high


class _Row:
    """Regions one behind the other; on behind the hole if they reach it."""

    def __init__(self, start: int, at: int) -> None:
        self.start = start
        self.at = at
        self._done: list[tuple[int, int]] = []

    def add(
        self, name: str, size: int, gap: int = 0, kind: Kind = "tracked"
    ) -> Region:
        address = self.at + gap
        if address < _HOLE_END and address + size > _HOLE:
            if self.at > self.start:
                self._done.append((self.start, self.at))
            self.start = address = max(_HOLE_END, self.at)
        self.at = address + size
        access = "r--" if name == "input" else "rw-"
        return Region(name, address, size, access, kind)

    def parts(self) -> list[tuple[int, int]]:
        return [*self._done, (self.start, self.at)]


def _thread_size(facts: Mapping[str, Any]) -> int:
    """Thread-local data, the block behind it, and what a guest is told."""
    size = facts["tls_size"] + 2 * max(facts["tls_align"], 64) + 512
    return int((size + PAGE - 1) // PAGE * PAGE)


def image_regions(
    facts: Mapping[str, Any], base: int, written: int
) -> list[Region]:
    """The segments of a guest's file, loaded at `base`.

    What lies from `written` on is tracked.
    """
    names = {_READ | _EXECUTE: "code", _READ: "rodata", _READ | _WRITE: "data"}
    used: dict[str, int] = {}
    regions = []
    for address, size, bits in facts["segments"]:
        name = names.get(bits | _READ, "code")
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name = f"{name}.{used[name]}"
        kind: Kind = "tracked" if base + address >= written else "read-only"
        regions.append(
            Region(name, base + address, size, _text(bits | _READ), kind)
        )
    return regions
