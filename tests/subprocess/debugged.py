"""A program to debug: tracks memory, writes to it, says what was seen.

Usage: debugged.py TRACKER [pause].  With `pause` it stops at a marker, where a
debugger can write to the memory itself, with the address in `address`.
"""

from __future__ import annotations

import ctypes
import os
import sys

from hyperlight import SharedMemory, SnapshotManager

PAGE = os.sysconf("SC_PAGESIZE")

with SharedMemory(16 * PAGE) as memory:
    with SnapshotManager(memory, tracker=sys.argv[1]) as manager:
        memory.fill(0, memory.size, 1)
        manager.take()
        memory.write(2 * PAGE, b"x")
        memory.write(9 * PAGE, b"x")
        if "pause" in sys.argv:
            # The debugger stops in getpriority(which, address) and finds the
            # address of page 5 in its second argument.
            address = ctypes.c_ulong(memory.address + 5 * PAGE)
            ctypes.CDLL(None).getpriority(ctypes.c_int(99), address)
        print(
            "dirty", list(manager.dirty()), "changed", list(manager.changed())
        )
