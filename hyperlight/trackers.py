"""Which trackers this host has."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass

from hyperlight._binding import core
from hyperlight.emulator import find_emulator
from hyperlight.registry import TRACKERS, Tracker

__all__ = [
    "FaultHandlerInfo",
    "TrackerInfo",
    "fault_handlers",
    "reclaim_fault_handlers",
    "trackers",
    "usable_of",
]


@dataclass(frozen=True)
class TrackerInfo:
    """The state of a tracker on this host."""

    #: Its name, as in ``tracker=``.
    name: str
    #: It was just tried and worked.
    available: bool
    #: Why it is not available; else empty.
    reason: str
    #: Writes by system calls into tracked memory are seen; otherwise they
    #: fail with ``EFAULT`` while the page is armed.
    kernel_writes: bool
    #: The driver whose guests' writes it finds; None if it tracks what this
    #: process writes.
    driver: str | None = None


@dataclass(frozen=True)
class FaultHandlerInfo:
    """The state of one signal that trackers use."""

    #: ``"SIGSEGV"`` or ``"SIGBUS"``.
    signal: str
    #: A tracker has put its handler there.
    installed: bool
    #: It is the handler that the kernel calls now. If it is installed but not
    #: first, other code replaced it and gets the faults of armed pages.
    first: bool


def trackers() -> list[TrackerInfo]:
    """All trackers, each of them actually tried.

    Trackers of this process's memory come first, then those that belong to a
    driver; both in order of preference.
    """
    return [_probe(tracker) for tracker in TRACKERS]


def _probe(tracker: Tracker) -> TrackerInfo:
    if tracker.driver:
        find_emulator()
    try:
        reason = core.probe_tracker(tracker.name, tracker.driver)
    except OSError as error:  # a limit: it may work in a moment
        reason = str(error.strerror)
    return TrackerInfo(
        tracker.name,
        reason is None,
        reason or "",
        tracker.kernel_writes,
        tracker.driver,
    )


def usable_of(
    names: Iterable[str], failed: str, driver: str | None = None
) -> list[str]:
    """Those of the names, but for one that failed, that work here.

    Args:
        names: Of trackers of this process's, and of the driver's own.
        failed: One that is not tried again.
        driver: Whose own they may be.
    """
    rows = [t for t in TRACKERS if t.driver in (None, driver)]
    return [
        name
        for name in names
        if name != failed
        and any(t.name == name and _probe(t).available for t in rows)
    ]


def fault_handlers() -> list[FaultHandlerInfo]:
    """Whether our signal handlers are installed, and still the first ones."""
    return [
        FaultHandlerInfo(signal.Signals(number).name, installed, first)
        for number, installed, first in core.fault_status()
    ]


def reclaim_fault_handlers() -> None:
    """Put our handlers in front again if other code replaced them.

    Faults that are not ours are passed on to the handlers found there. Every
    take and restore does this; call it after installing a SIGSEGV or SIGBUS
    handler while memory is tracked by ``sigsegv`` or ``uffd-sigbus``.
    """
    core.reclaim_faults()
