"""Forks of programs under AddressSanitizer: only while no thread allocates.

gcc 12's does not hold its allocator's locks over a fork, so a child would wait
for ever for what a thread held that it does not have: one that was just ending
is enough. Python imports this file by its name, wherever PYTHONPATH leads to
it, so that it holds for what the tests run as well.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

PATIENCE = 1  # second; then it forks all the same

fork = os.fork


def all_others_sleep() -> bool:
    """As the kernel sees them; who waits for a lock of it runs."""
    own = threading.get_native_id()
    for task in Path("/proc/self/task").iterdir():
        try:
            stat = (task / "stat").read_text()
        except OSError:  # it has ended
            continue
        if int(task.name) != own and stat.rpartition(")")[2].split()[0] != "S":
            return False
    return True


def fork_while_others_sleep() -> int:
    """``os.fork``."""
    patience = time.monotonic() + PATIENCE
    while not all_others_sleep() and time.monotonic() < patience:
        time.sleep(0.0005)
    return fork()


os.fork = fork_while_others_sleep
