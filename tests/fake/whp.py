"""The fake of WinHvPlatform.dll for Python; ``whp/fake.h`` says what it does.

It is built on Linux and used under Wine, where the core of a test build loads
it.
"""

from __future__ import annotations

import ctypes
import enum
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE / "whp"
CSRC = HERE.parent.parent / "csrc"

#: What runs the guests, and what that needs.
ENGINE = (
    *("vm/emulator/*.c", "image/x86.c", "vm/slots.c", "why.c"),
    *("os/lock.c", "os/others.c"),
    *(
        f"os/windows/{name}.c"
        for name in ("library", "memory", "threads", "wait", "watched")
    ),
)

FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-D_WIN32_WINNT=0x0A00", "-O1", "-g"),
    *("-Wall", "-Wextra", "-Werror", f"-I{CSRC}", f"-I{HERE.parent}"),
]
LIBRARIES = ["-shared", "-static", "-lsynchronization", "-lbcrypt"]


class Kind(enum.IntEnum):
    """Kinds of calls: ``enum fake_kind``."""

    CAPABILITY = 0
    CREATE = 1
    PROPERTY = 2
    SETUP = 3
    DELETE = 4
    MAP = 5
    CREATE_CPU = 6
    RUN = 7
    CANCEL = 8
    GET = 9
    SET = 10
    GET_XSAVE = 11
    SET_XSAVE = 12
    QUERY = 13


class Switch(enum.IntEnum):
    """What can be switched on: ``enum fake_switch``."""

    NO_HYPERVISOR = 0
    REFUSE_FLAG = 1
    MISSED_REARM = 2
    STRAY_BITS = 3
    FIRST_ALL_DIRTY = 4
    ONE_PARTITION = 5
    CANCEL_LOST = 6
    NO_AVX = 7
    EXIT = 8
    SPURIOUS_EVERY = 9


class Counter(enum.IntEnum):
    """What is counted behind the calls of each kind: ``enum fake_counter``."""

    PAGES_ASKED = 14
    PAGES_TOLD = 15
    FAILED = 16
    VIOLATIONS = 17
    PARTITIONS = 18
    MAPPINGS = 19


def build(folder: Path, compiler: str) -> Path:
    """Compile the fake into a library for Windows."""
    library = folder / "fake_whp.dll"
    engine = [path for pattern in ENGINE for path in CSRC.glob(pattern)]

    def compile_one(numbered: tuple[int, Path]) -> str:
        number, source = numbered
        target = str(folder / f"fake-{number}.o")
        subprocess.run(
            [compiler, *FLAGS, "-c", str(source), "-o", target], check=True
        )
        return target

    with ThreadPoolExecutor() as pool:
        sources = enumerate([*SOURCES.glob("*.c"), *engine])
        objects = list(pool.map(compile_one, sources))
    command = [compiler, "-o", str(library), *objects, *LIBRARIES]
    subprocess.run(command, check=True)
    return library


class FakeWhp:
    """The loaded fake. It is never unloaded: the core keeps its addresses."""

    def __init__(self, library: Path) -> None:
        """Load what :func:`build` made."""
        self._library = ctypes.CDLL(str(library))
        self._library.fake_whp_fail.argtypes = [
            *(ctypes.c_int, ctypes.c_long, ctypes.c_long, ctypes.c_bool)
        ]

    def switch(self, which: Switch, value: int = 1) -> None:
        """Set a switch; 0 is off."""
        self._library.fake_whp_switch(int(which), value)

    def count(self, which: Counter | Kind) -> int:
        """How often something happened, or how much of it there is."""
        return int(self._library.fake_whp_count(int(which)))

    def alive(self) -> tuple[int, int]:
        """Partitions and mappings that there are."""
        return self.count(Counter.PARTITIONS), self.count(Counter.MAPPINGS)

    def reset(self) -> None:
        """All switches off, no plan, and counters at 0."""
        self._library.fake_whp_reset()

    def fail(
        self, kind: Kind | int, nth: int, result: int, *, after: bool = False
    ) -> None:
        """Let the n-th call of a kind from now on fail."""
        self._library.fake_whp_fail(int(kind), nth, result, after)

    @property
    def fail_left(self) -> int:
        """How many calls :meth:`fail` still waits for; 0: it happened."""
        return int(self._library.fake_whp_fail_left())


#: The built library, for the core of this process and its children: the core
#: of a test build uses it when it first wants the real one.
LIBRARY = "HYPERLIGHT_FAKE_WHP_LIBRARY"
#: What of it does not work from the beginning: "refuses" the flag, "misses"
#: writes; or nothing.
QUIRK = "HYPERLIGHT_FAKE_WHP"
#: The emulator's library, which runs the fake's guests.
UNICORN = "HYPERLIGHT_UNICORN"

_loaded: list[FakeWhp] = []


def is_provided() -> bool:
    """Whether this process's WinHvPlatform.dll is the fake."""
    from hyperlight._binding import core

    return bool(os.environ.get(LIBRARY)) and core.CAN_FAIL


def load() -> FakeWhp:
    """The fake of this process."""
    if not _loaded:
        _loaded.append(FakeWhp(Path(os.environ[LIBRARY])))
    return _loaded[0]
