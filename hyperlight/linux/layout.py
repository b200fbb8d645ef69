"""Where everything lies in a program's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hyperlight._binding import core
from hyperlight.errors import LayoutError
from hyperlight.sandbox.config import SandboxConfig
from hyperlight.sandbox.layout import (
    PAGE,
    MemoryLayout,
    Plan,
    Region,
    bits_of,
    image_place,
    image_regions,
)
from hyperlight.units import format_size

__all__ = ["plan_program"]

_HUGE = 2 << 20
# A hypervisor has devices of its own between 3 and 4 GiB.
_HOLE, _HOLE_END = 3 << 30, 4 << 30

#: What programs are used to, whatever a configuration says.
_STACK = 8 << 20


def _up(size: int, to: int) -> int:
    return (size + to - 1) // to * to


def plan_program(facts: Mapping[str, Any], config: SandboxConfig) -> Plan:
    """Lay out a program, described by the `facts` of its file.

    Host memory, and the program's as far as it can: [tables][what of the image
    is read-only] and then, tracked, [what is written of the image][arena]
    [stack][kernel]. The kernel's part is out of the program's reach; an
    unmapped page lies under the stack.
    """
    base, low, high = image_place(facts, "program")
    written = base + facts["writable"]
    memory, files = int(config.memory), int(config.files_size)
    stack_size = max(int(config.stack_size), _STACK)
    kernel_size = core.kernel_size(files // PAGE)
    arena = _up(high, _HUGE)
    rest = memory + PAGE + stack_size + kernel_size
    if arena + rest > _HOLE:
        arena = _HOLE_END
    stack = arena + memory + PAGE
    kernel = stack + stack_size
    tables = kernel + kernel_size
    regions = [
        *image_regions(facts, base, written),
        Region("heap", arena, memory, "rw-", "tracked"),
        Region("stack", stack, stack_size, "rw-", "tracked"),
        Region("kernel", kernel, kernel_size, "---", "tracked"),
    ]
    # Until the program is baked, its loader maps code into the arena.
    mapped = tuple(
        (
            region.address,
            region.size,
            core.PERM_ALL
            if region.name == "heap"
            else bits_of(region.permissions),
        )
        for region in regions
        if region.permissions != "---"
    )
    # Rights of single pages: a page of tables for 2 MiB.
    tables_size = core.tables_size(tables, mapped) + PAGE * (
        memory // _HUGE + 2
    )
    regions.append(Region("tables", tables, tables_size, "---", "tables"))
    if tables + tables_size > 1 << 40:
        raise LayoutError(
            f"memory={format_size(memory)} is more than a program can have"
        )
    slots = [(tables, tables_size, False)]
    if written > low:
        slots.append((low, written - low, False))
    if high > written:
        slots.append((written, high - written, True))
    slots.append((arena, tables - arena, True))
    return Plan(MemoryLayout(regions), base, tuple(slots), mapped)
