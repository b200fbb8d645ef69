"""Huge pages, as the kernel counts them."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from hyperlight import SharedMemory


def huge_bytes(memory: SharedMemory) -> int:
    """How much of it is in huge pages."""
    total, here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            start, end = (int(part, 16) for part in found.groups())
            here = (
                start < memory.address + memory.size and memory.address < end
            )
        elif here and line.startswith("AnonHugePages:"):
            total += int(line.split()[1]) << 10
    return total


def can_collapse() -> bool:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 8 << 20, flags) as mapping:
        mapping.write(bytes(8 << 20))
        try:
            mapping.madvise(25)  # MADV_COLLAPSE, Linux 6.1
        except OSError:
            return False
    return True
