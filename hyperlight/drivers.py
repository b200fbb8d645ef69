"""Which hypervisor drivers this host has."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DriverInfo", "drivers"]


@dataclass(frozen=True)
class DriverInfo:
    """What is known of a hypervisor driver on this host."""

    name: str
    available: bool
    #: Why not; empty where it is available.
    reason: str


def drivers() -> list[DriverInfo]:
    """All drivers that sandboxes can run on.

    This version restores memory of its own process only, so none is.
    """
    reason = "not compiled in: this version has no sandboxes"
    return [DriverInfo(name, False, reason) for name in ("kvm", "emulator")]
