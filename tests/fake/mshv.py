"""The fake of /dev/mshv (``mshv/fake.h`` says what it does), for Python."""

from __future__ import annotations

import ctypes
import enum
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE / "mshv"
CSRC = HERE.parent.parent / "csrc"

FLAGS = [
    *("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra"),
    *("-Werror", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"),
    *(f"-I{CSRC}", f"-I{HERE.parent}"),
]


class Kind(enum.IntEnum):
    """Kinds of calls: ``enum fake_kind``."""

    OPEN = 0
    CREATE_PARTITION = 1
    INITIALIZE = 2
    CREATE_VP = 3
    MAP = 4
    UNMAP = 5
    PROPERTY = 6
    QUERY = 7
    GET_REGISTERS = 8
    SET_REGISTERS = 9
    GET_STATE = 10
    SET_STATE = 11
    RUN = 12
    CLOSE = 13
    OTHER = 14


class Switch(enum.IntEnum):
    """What can be switched on: ``enum fake_switch``."""

    OLDER = 0
    PADDED = 1
    FIRST_ALL_DIRTY = 2
    STRAY_BITS = 3
    PEEK = 4
    EINTR_ONCE = 5
    EAGAIN_ONCE = 6
    FEWER_PAGES = 7
    SPURIOUS_EVERY = 8
    FRAMES_EVERY = 9


class Counter(enum.IntEnum):
    """What is counted behind the calls of each kind: ``enum fake_counter``."""

    HYPERCALLS = 15
    PAGES_ASKED = 16
    PAGES_TOLD = 17
    FAILED = 18
    VIOLATIONS = 19
    MESSAGES = 20
    PARTITIONS = 21
    VPS = 22
    MAPPINGS = 23
    DESCRIPTORS = 24


#: For :meth:`FakeMshv.fail`: a call of any kind.
ANY = len(Kind)


def build(folder: Path) -> Path:
    """Compile the fake into a shared library."""
    library = folder / "libfake_mshv.so"
    sources = sorted(map(str, SOURCES.glob("*.c")))
    command = [os.environ.get("CC", "cc"), *FLAGS, "-o", str(library)]
    subprocess.run([*command, *sources], check=True)
    return library


class FakeMshv:
    """The loaded fake. It is never unloaded: the core keeps its address."""

    def __init__(self, library: Path) -> None:
        """Load what :func:`build` made."""
        self._library = ctypes.CDLL(str(library))
        for name in ("switched", "count"):
            getattr(self._library, f"fake_mshv_{name}").restype = ctypes.c_long
        self._library.fake_mshv_fail_left.restype = ctypes.c_long
        self._library.fake_mshv_switch.argtypes = [
            ctypes.c_int,
            ctypes.c_long,
        ]
        self._library.fake_mshv_fail.argtypes = [
            *(ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_bool)
        ]

    @property
    def calls(self) -> int:
        """The address of its ``struct hl_mshv_calls``."""
        table = ctypes.c_void_p.in_dll(self._library, "fake_mshv_calls")
        return ctypes.addressof(table)

    def switch(self, which: Switch, value: int = 1) -> None:
        """Set a switch; 0 is off."""
        self._library.fake_mshv_switch(which, value)

    def switched(self, which: Switch) -> int:
        """What a switch is set to."""
        return int(self._library.fake_mshv_switched(which))

    def count(self, which: Counter | Kind) -> int:
        """How often something happened, or how much of it there is."""
        return int(self._library.fake_mshv_count(which))

    def counts(self) -> dict[str, int]:
        """All that is not 0, by name."""
        every: list[Kind | Counter] = [*Kind, *Counter]
        return {c.name.lower(): n for c in every if (n := self.count(c))}

    def alive(self) -> dict[str, int]:
        """What was made and not closed; nothing: ``{}``."""
        self._library.fake_mshv_sweep()
        names = ("partitions", "vps", "mappings", "descriptors")
        return {k: n for k, n in self.counts().items() if k in names}

    def reset(self) -> None:
        """All switches off, no plan, and counters at 0."""
        self._library.fake_mshv_reset()

    def fail(
        self, kind: Kind | int, nth: int, error: int, *, after: bool = False
    ) -> None:
        """Let the n-th call of a kind from now on fail."""
        self._library.fake_mshv_fail(kind, nth, error, after)

    @property
    def fail_left(self) -> int:
        """How many calls :meth:`fail` still waits for; 0: it happened."""
        return int(self._library.fake_mshv_fail_left())


#: The built library, for the core of this process and its children: the core
#: of a test build uses it from its import on.
LIBRARY = "HYPERLIGHT_FAKE_MSHV_LIBRARY"
#: Which interface of /dev/mshv it has: "current", "older", or "off", which is
#: no fake at all.
INTERFACE = "HYPERLIGHT_FAKE_MSHV"

_folders: list[tempfile.TemporaryDirectory[str]] = []
_loaded: list[FakeMshv] = []


def provide() -> None:
    """Put the fake in the place of /dev/mshv; before the core is imported.

    Without a compiler, it is the kernel's. Processes that pytest starts have
    it from their parent.
    """
    off = os.environ.setdefault(INTERFACE, "current") == "off"
    if off or os.environ.get(LIBRARY) or shutil.which("cc") is None:
        return
    _folders.append(tempfile.TemporaryDirectory())
    os.environ[LIBRARY] = str(build(Path(_folders[0].name)))


def is_provided() -> bool:
    """Whether this process's /dev/mshv is the fake."""
    from hyperlight._binding import core  # not before provide()

    return bool(os.environ.get(LIBRARY)) and core.CAN_FAIL


def load() -> FakeMshv:
    """The fake of this process."""
    if not _loaded:
        _loaded.append(FakeMshv(Path(os.environ[LIBRARY])))
    return _loaded[0]
