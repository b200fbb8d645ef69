"""Which hypervisor drivers this host has."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hyperlight._binding import core
from hyperlight.errors import DriverUnavailable

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
    return [_probe(name) for name in core.DRIVERS]


def _probe(name: str) -> DriverInfo:
    find_emulator()
    reason = core.probe_driver(name)
    return DriverInfo(name, reason is None, reason or "")


@functools.cache
def find_emulator() -> str | None:
    """Tell the core where the ``unicorn`` package has its library."""
    spec = importlib.util.find_spec("unicorn")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("lib/libunicorn.so*")):
            core.set_emulator_library(str(path))
            return str(path)
    return None


# What was found to work once is taken to go on working; what did not may have
# been installed or allowed meanwhile.
_working: set[str] = set()


def choose_driver(wanted: str, names: Sequence[str] = core.DRIVERS) -> str:
    """The name of a driver that works; `wanted` may be ``"auto"``.

    Raises:
        DriverUnavailable: It does not, or none does; says why.
    """
    reasons = []
    for name in names if wanted == "auto" else (wanted,):
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
        return name
    usable = [i.name for i in drivers() if i.available]
    raise DriverUnavailable(wanted, "; ".join(reasons), usable)
