"""A guest's memory and registers in snapshots, whatever the guest speaks."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, NoReturn, TypeVar

from hyperlight._ahead import stay_ahead_of_handlers
from hyperlight._binding import core
from hyperlight.errors import (
    SnapshotMismatch,
    TrackerMissedPage,
    TrackerUnavailable,
)
from hyperlight.pageset import PageSet
from hyperlight.sandbox.config import SandboxConfig
from hyperlight.sandbox.drivers import choose_driver
from hyperlight.sandbox.layout import MemoryLayout, Plan
from hyperlight.snapshot import Snapshot
from hyperlight.stats import RestoreStats
from hyperlight.trackers import usable_of
from hyperlight.units import format_size

__all__ = ["GuestState"]

Core = TypeVar("Core", bound=core.SandboxState)


class GuestState(Generic[Core]):
    """A guest in its machine; each holder identifies itself by a token.

    The core (csrc/turn.h) decides who owns the machine, and which requests
    run, wait or are refused.

    Args:
        digest: Of the guest's files.
        make: Makes the core on this driver with this tracker, or None for the
            one that is best.
    """

    core: Core

    def __init__(
        self,
        name: str,
        config: SandboxConfig,
        digest: bytes,
        planned: Plan,
        make: Callable[[str, str | None], Core],
    ) -> None:
        self.name = name
        self.config = config
        self.layout: MemoryLayout = planned.layout
        self.driver: str = choose_driver(config.driver)
        self.verifies: bool = os.environ.get("HYPERLIGHT_VERIFY") == "1"
        self.identity: tuple[str, bytes, MemoryLayout] = (
            self.driver,
            digest,
            planned.layout,
        )
        self.planned = planned
        self.core = _start(self.driver, config, planned, make)
        #: After its start; None once closed.
        self.base: Snapshot | None = None
        stay_ahead_of_handlers()

    @property
    def why(self) -> str:
        """Why it has that tracker."""
        return _why(self.core.because, self.planned)

    def is_open_for(self, token: object) -> bool:
        """Whether the token's holder may use it, as far as is known now."""
        return not self.core.closed and self.core.belongs_to(token)

    def take(self, token: object, name: str | None) -> Snapshot:
        """Freeze memory and processor state."""
        snapshot = Snapshot(name, parent=self.core.current)
        snapshot._identity = self.identity
        self.core.take(token, snapshot)
        return snapshot

    def current(self) -> Snapshot:
        """What it equalled at the last take or restore."""
        snapshot = self.core.current
        if snapshot is None:
            raise ValueError("operation on a closed Sandbox")
        assert isinstance(snapshot, Snapshot)
        return snapshot

    def restore(
        self, token: object, snapshot: Snapshot | None
    ) -> RestoreStats:
        """Put memory and processor back; None: to the current snapshot."""
        if snapshot is not None:
            snapshot = self.chosen(snapshot)
        stats = self.core.restore(token, snapshot)
        if self.verifies:
            self.verify(token, self.chosen(snapshot))
        return stats

    def chosen(self, snapshot: Snapshot | None) -> Snapshot:
        """The snapshot, or the current one if it is None.

        Raises:
            SnapshotMismatch: It does not fit this machine.
        """
        if snapshot is None:
            return self.current()
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"snapshot={snapshot!r} is not a Snapshot")
        if snapshot._identity != self.identity:
            self.refuse(snapshot)
        return snapshot

    def close(self, token: object) -> None:
        """Free everything; a second call does nothing."""
        self.core.close(token)
        if self.core.closed:
            self.base = None

    def refuse(self, snapshot: Snapshot) -> NoReturn:
        """Raise SnapshotMismatch, and say why the snapshot does not fit."""
        theirs = snapshot._identity
        if theirs is None:
            why = "it belongs to memory of this process, not to a sandbox"
        elif theirs[0] != self.driver:
            why = f"its driver is {theirs[0]!r}, not {self.driver!r}"
        elif theirs[1] != self.identity[1]:
            why = "it belongs to another guest"
        else:
            why = f"it has another layout:\n{theirs[2]}"
        raise SnapshotMismatch(f"snapshot={snapshot!r}: {why}")

    def verify(self, token: object, snapshot: Snapshot) -> None:
        """Raise TrackerMissedPage if a write was missed."""
        bits = self.core.verify(token, snapshot)
        missed = PageSet._wrap(bits, self.core.page_count)
        if missed:
            raise TrackerMissedPage(self.core.tracker, list(missed))

    def changed(
        self, token: object, snapshot: Snapshot, everything: bool
    ) -> PageSet:
        """The pages that differ."""
        bits = self.core.changed(token, snapshot, everything)
        return PageSet._wrap(bits, self.core.page_count)


def _start(
    driver: str,
    config: SandboxConfig,
    planned: Plan,
    make: Callable[[str, str | None], Core],
) -> Core:
    """The guest in its machine.

    Raises:
        TrackerUnavailable: The driver cannot use the tracker that is wanted.
    """
    tracked = _tracked(planned)
    try:
        return make(
            driver, None if config.tracker == "auto" else config.tracker
        )
    except TrackerUnavailable as error:
        eligible = core.candidates(driver, tracked // core.PAGE_SIZE)
        reason = error.reason
        if error.tracker not in ("auto", *eligible):
            reason = f"driver {driver!r} cannot track a guest's writes with it"
        raise TrackerUnavailable(
            error.tracker, reason, usable_of(eligible, error.tracker, driver)
        ) from None


def _tracked(planned: Plan) -> int:
    """Bytes of what snapshots hold."""
    return sum(size for _, size, logged in planned.slots if logged)


def _why(because: int, planned: Plan) -> str:
    if because == core.ASKED_FOR:
        return "asked for by name"
    if because == core.NEXT_CHOICE:
        return "the first that works, after those in passed_over"
    if because == core.TOLD:
        return (
            f"scanning {format_size(_tracked(planned))} for writes would "
            f"cost more than being notified of each"
        )
    return "the first that works with this driver here"
