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
    """What is known of a hypervisor driver on this host."""

    name: str
    #: A machine was made just now, and an instruction of a guest ran.
    available: bool
    #: Why not, and what to install or whom to ask; empty where it is
    #: available.
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
        OSError: That could not be found out, for want of descriptors or tasks:
            no reason to take another driver instead.
    """
    find_emulator()
    reason = core.probe_driver(name)
    return DriverInfo(name, reason is None, reason or "")


# What was found to work once is taken to go on working; what did not may have
# been installed or allowed meanwhile.
_working: set[str] = set()


def choose_driver(wanted: str, known: Sequence[Driver] = DRIVERS) -> str:
    """The name of a driver that works; `wanted` may be ``"auto"``.

    Warns:
        EmulatorWarning: It was not asked for by name, and keeps no hostile
            guest in.

    Raises:
        DriverUnavailable: It does not, or none does; says why.
        OSError: A limit of this process was met while it was tried.
    """
    reasons = []
    for driver in known:
        name = driver.name
        if wanted not in ("auto", name):
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
