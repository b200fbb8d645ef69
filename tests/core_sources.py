"""Which files of the core a system compiles: one list for all that build it.

As setup.py chooses them, which stands alone; test_packaging compares the two.
"""

from __future__ import annotations

from pathlib import Path

CSRC = Path(__file__).resolve().parent.parent / "csrc"

#: Folders and files that only x86-64 has, only Linux, and only Windows.
HYPERVISORS = {"kvm", "mshv", "whp", "start.c"}
LINUX = {"linux", "signals.c", "kvm", "mshv"}
WINDOWS = {"windows", "whp"}
#: The guests, which are for no system.
GUEST = "guest"


def core_sources(
    x86: bool = True, windows: bool = False, folder: Path = CSRC
) -> list[Path]:
    """The .c files of csrc, or of a folder like it, that this system has."""
    others = {GUEST, *(LINUX if windows else WINDOWS)}
    if not x86:
        others |= HYPERVISORS
    return sorted(
        path
        for path in folder.rglob("*.c")
        if not others & set(path.relative_to(folder).parts)
    )
