"""What a sandbox is to be like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, SupportsIndex, get_args

from hyperlight._binding import core
from hyperlight.units import format_size, parse_size

__all__ = ["SandboxConfig"]

Rearm = Literal["adaptive", "always"]

_SIZES = ("heap_size", "stack_size", "input_size", "output_size")
_SMALLEST = {"stack_size": 8192}
_LARGEST = 1 << 45
_GUEST_TRACKERS = ("kvm-ring", "kvm-log")


@dataclass(frozen=True)
class SandboxConfig:
    """Sizes, driver, tracker and limits of a sandbox.

    Sizes are bytes or text such as ``"64MiB"``, rounded up to whole pages.
    Memory is used when the guest touches it, so a large heap costs nothing.

    Raises:
        ValueError: An argument is not valid; the text says what would be.
    """

    #: What the guest's ``malloc`` has.
    heap_size: SupportsIndex | str = "128KiB"
    #: An unmapped page lies under it. At least 8 KiB.
    stack_size: SupportsIndex | str = "64KiB"
    #: Holds a call: its name and all of its arguments.
    input_size: SupportsIndex | str = "16KiB"
    #: Holds a result, a log line, or the arguments of a host function.
    output_size: SupportsIndex | str = "16KiB"
    #: How the guest's writes are noticed: ``"auto"``, ``"kvm-ring"`` or
    #: ``"kvm-log"`` (driver ``kvm``), or a name from
    #: :func:`hyperlight.trackers`.
    tracker: str = "auto"
    #: A name from :func:`hyperlight.drivers`, or ``"auto"`` for the first
    #: that works.
    driver: str = "auto"
    #: Seconds that a call may take unless it says otherwise; None: for ever.
    call_timeout: float | None = None
    #: As for :class:`SnapshotManager`.
    rearm: Rearm = "adaptive"

    def __post_init__(self) -> None:
        for name in _SIZES:
            size = _page_multiple(name, getattr(self, name))
            object.__setattr__(self, name, size)
        _require(self, "driver", ("auto", *core.DRIVERS))
        host = tuple(name for name, _ in core.TRACKERS)
        _require(self, "tracker", ("auto", *_GUEST_TRACKERS, *host))
        _require(self, "rearm", get_args(Rearm))
        check_timeout("call_timeout", self.call_timeout)

    def __str__(self) -> str:
        sizes = ", ".join(
            f"{name.removesuffix('_size')} {format_size(getattr(self, name))}"
            for name in _SIZES
        )
        return f"{sizes}, driver {self.driver}, tracker {self.tracker}"


def _page_multiple(name: str, value: SupportsIndex | str) -> int:
    page: int = core.PAGE_SIZE
    try:
        size = parse_size(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    smallest = _SMALLEST.get(name, page)
    size = (size + page - 1) // page * page
    if not smallest <= size <= _LARGEST:
        raise ValueError(
            f"{name}={value!r}: must be {format_size(smallest)} to "
            f"{format_size(_LARGEST)}"
        )
    return size


def _require(config: SandboxConfig, name: str, valid: tuple[str, ...]) -> None:
    value = getattr(config, name)
    if value not in valid:
        raise ValueError(
            f"{name}={value!r}: valid are {', '.join(map(repr, valid))}"
        )


def check_timeout(name: str, seconds: float | None) -> None:
    """Raise unless it is None or a number of seconds above 0."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name}={seconds!r} is neither seconds nor None")
    if not seconds > 0 or math.isnan(seconds):
        raise ValueError(f"{name}={seconds!r} is not above 0")
