"""The main job on real memory: a ledger is written to, and put back.

Every byte of the region belongs to a table of accounts, 64 bytes each. The
workload moves money between random accounts, which dirties a page or two a
transfer. Then the region is put back as it was: by copying all of it from a
saved copy, and by a snapshot that knows what changed.
"""

from __future__ import annotations

import contextlib
import random
import re
import statistics
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hyperlight.manager import SnapshotManager
from hyperlight.memory import SharedMemory
from hyperlight.units import format_size

__all__ = ["Step", "in_words", "run"]

#: Called with a step's name, bytes done, and bytes in all.
Step = Callable[[str, int, int], None]

ACCOUNT = struct.Struct("<QqQ40s")  # number of changes, balance, last peer
BLOCK = 8 << 20
TRANSFERS = 50
ROUNDS = 7
COPY_ROUNDS = 3


def run(size: int, tracker: str, step: Step) -> dict[str, Any]:
    """Do it all and report: sizes, times, and whether the bytes are right.

    Raises:
        MemoryError: There is not enough for the region and one copy of it.
    """
    _require_memory(2 * size)
    with SharedMemory(size) as memory:
        _open_accounts(memory, step)
        before = _checksum(memory, "checksum before", step)
        copying = _by_full_copy(memory, step)
        with SnapshotManager(memory, tracker=tracker) as manager:
            tracking, wrote = _by_tracking(memory, manager, step)
            used = manager.tracker
            manager.verify()
            identical = not manager.changed()
        after = _checksum(memory, "checksum after", step)
    return _report(
        memory.size, used, copying, tracking, wrote, identical, before == after
    )


def _require_memory(size: int) -> None:
    """Refuse now what would end in the hands of the out-of-memory killer."""
    free = _available()
    if free is not None and size > free:
        raise MemoryError(
            f"this needs {format_size(size)} of memory and "
            f"{format_size(free)} are available: choose a smaller --size"
        )


def _available(root: Path = Path("/")) -> int | None:
    """Bytes that the machine has to give, and a container lets us take."""
    limits = []
    with contextlib.suppress(OSError):
        memory = (root / "proc/meminfo").read_text()
        if found := re.search(
            r"^MemAvailable:\s*(\d+) kB", memory, re.MULTILINE
        ):
            limits.append(int(found[1]) * 1024)
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/"):
                limits += _group_limits(root / "sys/fs/cgroup", line[4:])
    return min(limits, default=None)


def _group_limits(top: Path, group: str) -> list[int]:
    """The memory limits of a control group and of those that it is in."""
    limits = []
    folder = top / group
    for level in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            text = (level / "memory.max").read_text().strip()
            if text != "max":
                limits.append(int(text))
    return limits


def _open_accounts(memory: SharedMemory, step: Step) -> None:
    block = ACCOUNT.pack(0, 1000, 0, b"open") * (BLOCK // ACCOUNT.size)
    for at in range(0, memory.size, BLOCK):
        memory.write(at, block[: memory.size - at])
        step("fill", min(at + BLOCK, memory.size), memory.size)


def _checksum(memory: SharedMemory, name: str, step: Step) -> int:
    crc = 0
    with memoryview(memory) as view:
        for at in range(0, memory.size, BLOCK):
            crc = zlib.crc32(view[at : at + BLOCK], crc)
            step(name, min(at + BLOCK, memory.size), memory.size)
    return crc


def _transfer(view: memoryview, rng: random.Random) -> None:
    """The workload: money moves between pairs of random accounts."""
    accounts = len(view) // ACCOUNT.size
    for _ in range(TRANSFERS):
        payer, payee = rng.randrange(accounts), rng.randrange(accounts)
        amount = rng.randrange(1, 100)
        for who, peer, change in (
            (payer, payee, -amount),
            (payee, payer, amount),
        ):
            at = who * ACCOUNT.size
            count, balance, _, _ = ACCOUNT.unpack_from(view, at)
            ACCOUNT.pack_into(
                view, at, count + 1, balance + change, peer, b"moved"
            )


def _by_full_copy(memory: SharedMemory, step: Step) -> float:
    """Median seconds to copy everything back."""
    times = []
    with SharedMemory(memory.size) as saved:
        with memoryview(memory) as view, memoryview(saved) as copy:
            for at in range(0, memory.size, BLOCK):
                copy[at : at + BLOCK] = view[at : at + BLOCK]
                step("save a full copy", at + BLOCK, memory.size)
            for i in range(COPY_ROUNDS):
                _transfer(view, random.Random(i))
                start = time.perf_counter()
                view[:] = copy
                times.append(time.perf_counter() - start)
    return statistics.median(times)


def _by_tracking(
    memory: SharedMemory, manager: SnapshotManager, step: Step
) -> tuple[float, int]:
    """Median seconds to restore, and of pages written back."""
    times, pages = [], []
    step("take a snapshot", 0, 1)
    manager.take("opened")
    step("take a snapshot", 1, 1)
    with memoryview(memory) as view:
        for i in range(ROUNDS):
            _transfer(view, random.Random(i))
            start = time.perf_counter()
            stats = manager.restore()
            times.append(time.perf_counter() - start)
            pages.append(stats.pages_copied + stats.pages_zeroed)
            step("transfer and restore", i + 1, ROUNDS)
    return statistics.median(times), round(statistics.median(pages))


def _report(
    size: int,
    tracker: str,
    copying: float,
    tracking: float,
    wrote: int,
    identical: bool,
    same_checksum: bool,
) -> dict[str, Any]:
    with SharedMemory(1) as one:
        page = one.page_size
    ratio = copying / tracking
    right = identical and same_checksum
    verdict = (
        "every byte is as it was"
        if right
        else "THE BYTES ARE NOT WHAT THEY WERE"
    )
    return {
        "size": size,
        "tracker": tracker,
        "transfers": TRANSFERS,
        "identical": right,
        "restores": [
            {
                "by": "full copy",
                "pages": size // page,
                "bytes": size,
                "microseconds": copying * 1e6,
                "ratio": 1.0,
            },
            {
                "by": f"tracking ({tracker})",
                "pages": wrote,
                "bytes": wrote * page,
                "microseconds": tracking * 1e6,
                "ratio": ratio,
            },
        ],
        "sentence": (
            f"After {TRANSFERS} transfers in {format_size(size)} of accounts, "
            f"putting back {wrote:,} {'page' if wrote == 1 else 'pages'} took "
            f"{tracking * 1e6:,.0f} µs instead of {copying * 1e6:,.0f} µs "
            f"for a copy of everything, {_compared(ratio)}; {verdict}."
        ),
    }


def in_words(ratio: float) -> str:
    """With as many digits as say something."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2g}"


def _compared(ratio: float) -> str:
    faster = ratio >= 1.05
    return f"{in_words(ratio)} times less" if faster else "which is not less"
