"""Which hypervisor drivers this host has."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from hyperlight._binding import core
from hyperlight.emulator import find_emulator
from hyperlight.errors import DriverUnavailable, EmulatorWarning
from hyperlight.registry import DRIVERS, Driver

__all__ = ["DriverInfo", "choose_driver", "drivers"]


@dataclass(frozen=True)
class DriverInfo:
    """The state of a hypervisor driver on this host."""

    #: Its name, as in ``driver=``.
    name: str
    #: A machine was just created, and it ran an instruction of a guest.
    available: bool
    #: Why it is not available, and what to install or whom to ask; else empty.
    reason: str


def drivers() -> list[DriverInfo]:
    """All drivers in order of preference, each tried for real."""
    found = []
    for name in (driver.name for driver in DRIVERS):
        try:
            found.append(_probe(name))
        except OSError as error:  # a limit: it may work in a moment
            found.append(DriverInfo(name, False, str(error.strerror)))
    return found


def _probe(name: str) -> DriverInfo:
    """Try it.

    Raises:
        OSError: This could not be determined because descriptors or tasks ran
            out, which does not justify using another driver.
    """
    find_emulator()
    reason = core.probe_driver(name)
    return DriverInfo(name, reason is None, reason or "")


# A driver that worked once is assumed to keep working; one that did not may
# have been installed or allowed meanwhile.
_working: set[str] = set()


def choose_driver(wanted: str, known: Sequence[Driver] = DRIVERS) -> str:
    """The name of a driver that works; `wanted` may be ``"auto"``.

    Warns:
        EmulatorWarning: The driver was not asked for by name, and does not
            contain a hostile guest.

    Raises:
        DriverUnavailable: The wanted driver, or every driver, does not work.
        OSError: A limit of this process was reached while trying it.
    """
    reasons = []
    for driver in known:
        name = driver.name
        if wanted != name and (wanted != "auto" or driver.is_elsewhere):
            continue
        if name not in _working:
            info = _probe(name)
            if not info.available:
                reasons.append(
                    f"{name}: {info.reason}"
                    if wanted == "auto"
                    else info.reason
                )
                continue
            _working.add(name)
        if wanted == "auto" and not driver.is_boundary:
            _warn(name, reasons)
        return name
    usable = [i.name for i in drivers() if i.available]
    raise DriverUnavailable(wanted, "; ".join(reasons), usable)


def _warn(name: str, reasons: Sequence[str]) -> None:
    """Say so at the line that made the sandbox, wherever that is."""
    why = f" ({'; '.join(reasons)})" if reasons else ""
    warnings.warn(
        f"this sandbox runs on driver {name!r}, which is not a security "
        f"boundary: give it only guests that you trust{why}; "
        f"SandboxConfig(driver={name!r}) asks for it without this warning",
        EmulatorWarning,
        stacklevel=_levels_of_ours(),
    )


def _levels_of_ours() -> int:
    """How far up the stack the first frame is that is not this package's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", "").partition(".")[0] == "hyperlight"
    ):
        level, frame = level + 1, frame.f_back
    return level
