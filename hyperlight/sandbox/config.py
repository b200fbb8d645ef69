"""The configuration of a sandbox."""

from __future__ import annotations

import functools
import math
import numbers
import operator
from dataclasses import dataclass
from typing import Literal, SupportsFloat, SupportsIndex, get_args

from hyperlight._binding import core
from hyperlight.registry import DRIVERS, TRACKERS
from hyperlight.text import brief
from hyperlight.units import format_size, parse_size

__all__ = [
    "SandboxConfig",
    "check_timeout",
    "config_or_default",
    "deadline_after",
]

Rearm = Literal["adaptive", "always"]

_SIZES = ("heap_size", "stack_size", "input_size", "output_size")
_PROGRAM_SIZES = ("memory", "files_size")
_SMALLEST = {"stack_size": 8192, "memory": 4 << 20, "files_size": 64 << 10}
_LARGEST = 1 << 45
#: Limits that may be said as text such as "1MiB".
_BYTES = ("log_bytes", "output_limit")

#: A driver's own first: they are what a sandbox has by preference.
_TRACKER_NAMES = tuple(
    tracker.name
    for tracker in sorted(TRACKERS, key=lambda t: t.driver is None)
)


@dataclass(frozen=True)
class SandboxConfig:
    """Sizes, driver, tracker and limits of a sandbox.

    Sizes are bytes or text such as ``"64MiB"``, rounded up to whole pages.
    Memory is used when the guest touches it, so a large heap costs nothing.
    Every field is converted once, to an ``int``, ``float`` or ``str``.

    Raises:
        ValueError: An argument is not valid; the text says what is.
        TypeError: An argument has the wrong type.
    """

    #: Memory for the guest's ``malloc``.
    heap_size: SupportsIndex | str = "128KiB"
    #: An unmapped page lies under it. At least 8 KiB.
    stack_size: SupportsIndex | str = "64KiB"
    #: Holds a call: its name and all of its arguments.
    input_size: SupportsIndex | str = "16KiB"
    #: Holds a result, a log line, or the arguments of a host function.
    output_size: SupportsIndex | str = "16KiB"
    #: How the guest's writes are noticed: ``"auto"``, or a name from
    #: :func:`hyperlight.trackers`: one of the driver's own, ``"full"``, or,
    #: where the driver is the emulator, any of the host's.
    tracker: str = "auto"
    #: A name from :func:`hyperlight.drivers`, or ``"auto"`` for the first
    #: that works.
    driver: str = "auto"
    #: Seconds that a call may take if it has no timeout of its own: above 0;
    #: None or infinity: no limit.
    call_timeout: float | None = None
    #: Seconds that the guest's start may take, if it is a program, or
    #: :attr:`call_timeout` is None; None: no limit.
    start_timeout: float | None = 60.0
    #: As for :class:`SnapshotManager`.
    rearm: Rearm = "adaptive"
    #: Lines that a guest may log in one call. Further lines are dropped, and a
    #: warning says how many.
    log_lines: SupportsIndex = 10_000
    #: Bytes that the lines of one call may take in a log, as UTF-8 and after
    #: escaping. 0 for no log at all.
    log_bytes: SupportsIndex | str = "1MiB"
    #: Of a program: memory for all that it allocates and maps, libraries
    #: included. At least 4 MiB.
    memory: SupportsIndex | str = "256MiB"
    #: Of a program: room for the files that it writes. At least 64 KiB.
    files_size: SupportsIndex | str = "16MiB"
    #: Of a program: bytes that it may write to its standard output and error
    #: together, and to an answer, in one exchange.
    output_limit: SupportsIndex | str = "1MiB"
    #: Of a program: files that it may have open at once, up to 256. A program
    #: that wants more gets the error ``EMFILE``.
    open_files: SupportsIndex = 256
    #: Of a program: system calls that it may make in one exchange; None: any
    #: number.
    system_calls: SupportsIndex | None = None
    #: Of a program: the time of day that it has throughout an exchange, in
    #: seconds since 1970, except that sleeping advances it; None: real time.
    frozen_time: float | None = None

    def __post_init__(self) -> None:
        for name in (*_SIZES, *_PROGRAM_SIZES):
            size = _page_multiple(name, getattr(self, name))
            object.__setattr__(self, name, size)
        _require(self, "driver", ("auto", *(d.name for d in DRIVERS)))
        _require(self, "tracker", ("auto", *_TRACKER_NAMES))
        _require(self, "rearm", get_args(Rearm))
        for name in ("call_timeout", "start_timeout"):
            timeout = check_timeout(name, getattr(self, name))
            object.__setattr__(self, name, timeout)
        for name in ("log_lines", "log_bytes", "output_limit", "open_files"):
            limit = _limit(name, getattr(self, name))
            object.__setattr__(self, name, limit)
        if not 3 <= int(self.open_files) <= core.MOST_FILES:
            raise ValueError(
                f"open_files={brief(self.open_files)}: must be 3 to "
                f"{core.MOST_FILES}"
            )
        if self.system_calls is not None:
            limit = _limit("system_calls", self.system_calls)
            object.__setattr__(self, "system_calls", limit)
        frozen = check_timeout("frozen_time", self.frozen_time)
        if frozen is not None and not frozen < 1 << 33:
            raise ValueError(f"frozen_time={brief(frozen)} is too late")
        object.__setattr__(self, "frozen_time", frozen)

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{name.removesuffix('_size')} {format_size(getattr(self, name))}"
            for name in _SIZES
        )
        return f"{sizes}, driver {self.driver}, tracker {self.tracker}"


@functools.cache
def _default() -> SandboxConfig:
    return SandboxConfig()


def config_or_default(config: SandboxConfig | None) -> SandboxConfig:
    """The argument of that name, checked.

    Raises:
        TypeError: It is something else.
    """
    if config is None:
        return _default()
    if not isinstance(config, SandboxConfig):
        raise TypeError(f"config={config!r} is not a SandboxConfig")
    return config


def _page_multiple(name: str, value: SupportsIndex | str) -> int:
    page: int = core.PAGE_SIZE
    size = parse_size(value, name)
    smallest = _SMALLEST.get(name, page)
    rounded = (size + page - 1) // page * page
    if not smallest <= rounded <= _LARGEST:
        raise ValueError(
            f"{name}={brief(value)}: must be {format_size(smallest)} to "
            f"{format_size(_LARGEST)}"
        )
    return rounded


def _limit(name: str, value: SupportsIndex | str) -> int:
    """A count, or for bytes a size; 0 is allowed."""
    if name in _BYTES and isinstance(value, str):
        limit = parse_size(value, name)
    else:
        if isinstance(value, (bool, str)):
            raise TypeError(f"{name}={brief(value)} is not a number")
        try:
            limit = operator.index(value)
        except TypeError:
            raise TypeError(
                f"{name}={brief(value)} is not a whole number"
            ) from None
    if not 0 <= limit <= _LARGEST:
        raise ValueError(f"{name}={brief(value)}: must be 0 to {_LARGEST}")
    return limit


def _require(config: SandboxConfig, name: str, valid: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if isinstance(value, str):
        # Exactly a str: a subclass may compare inconsistently.
        value = str.__str__(value)
        object.__setattr__(config, name, value)
    if not isinstance(value, str) or value not in valid:
        raise ValueError(
            f"{name}={brief(value)}: valid are {', '.join(map(repr, valid))}"
        )


def check_timeout(name: str, seconds: SupportsFloat | None) -> float | None:
    """The seconds as a ``float``, converted once, or None.

    Any real number above 0 is accepted: of Python, fractions or numpy. One too
    large for a float is infinity, which means no limit. One so small that a
    clock cannot tell it from 0 is a limit that expires at once.

    Raises:
        TypeError: It is not a number; a ``bool`` does not count as one.
        ValueError: It is 0, negative, or not a number (NaN).
    """
    if seconds is None or (type(seconds) is float and seconds > 0):
        return seconds
    kind = type(seconds)
    if issubclass(kind, bool) or not issubclass(kind, numbers.Real):
        raise TypeError(f"{name}={brief(seconds)} is neither seconds nor None")
    try:
        number = float(seconds)
    except OverflowError:
        number = math.inf if seconds > 0 else -math.inf  # type: ignore[operator]
    if not number > 0:
        raise ValueError(f"{name}={brief(seconds)} is not above 0")
    return number


#: Farther than this is never.
_NEVER_NS = 1 << 62


def deadline_after(seconds: float | None, now: int) -> int:
    """The deadline for seconds from :func:`check_timeout`.

    Args:
        seconds: None or infinity: never.
        now: The current time of the clock, in ns and above 0.

    Returns:
        A time of that clock in ns, never before `now`; 0 for never.
    """
    if seconds is None or seconds >= _NEVER_NS / 1e9:
        return 0
    return now + int(seconds * 1e9)
