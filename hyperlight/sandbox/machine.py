"""A guest in its machine, as shared by both kinds of sandboxes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import NoReturn

from hyperlight._ahead import stay_ahead_of_handlers
from hyperlight._binding import core
from hyperlight.errors import (
    SnapshotMismatch,
    TrackerMissedPage,
    TrackerUnavailable,
)
from hyperlight.pageset import PageSet
from hyperlight.sandbox.batch import Batch
from hyperlight.sandbox.calls import Calls, Limit
from hyperlight.sandbox.config import (
    SandboxConfig,
    check_timeout,
    deadline_after,
)
from hyperlight.sandbox.drivers import choose_driver
from hyperlight.sandbox.functions import GuestFunction, Value
from hyperlight.sandbox.images import Guest, Image, read_guest
from hyperlight.sandbox.layout import MemoryLayout, Plan
from hyperlight.sandbox.log import GuestLog
from hyperlight.snapshot import Snapshot
from hyperlight.stats import RestoreStats
from hyperlight.trackers import usable_of
from hyperlight.units import format_size

__all__ = ["Guest", "Machine"]

#: The guest ABI that is asked for by name; None: the one of the guest's file.
_ABI: str | None = None


class Machine:
    """The machine that an UninitializedSandbox and its Sandbox share.

    Each of them identifies itself by a token. The core (csrc/turn.h) decides
    who owns the machine, and which requests run, wait or are refused.
    """

    def __init__(
        self, guest: Guest, config: SandboxConfig | None, token: object
    ) -> None:
        if config is None:
            config = SandboxConfig()
        elif not isinstance(config, SandboxConfig):
            raise TypeError(f"config={config!r} is not a SandboxConfig")
        self.config = config
        self.name: str
        self.image: Image
        self.name, self.image = read_guest(guest)
        planned = self.image.plan(config)
        self.layout: MemoryLayout = planned.layout
        self.driver: str = choose_driver(config.driver)
        self.verifies: bool = os.environ.get("HYPERLIGHT_VERIFY") == "1"
        self.identity: tuple[str, bytes, MemoryLayout] = (
            self.driver,
            self.image.digest,
            planned.layout,
        )
        self.core: core.SandboxCore = _start(
            self.driver, config, self.image.core, planned
        )
        #: ns that a call may take that has no timeout of its own; 0: any.
        self._most: int = deadline_after(config.call_timeout, 1)
        #: What the guest asks for in the middle of a call.
        self.calls: Calls = Calls(
            self.core,
            self.layout,
            GuestLog(self.name, int(config.log_lines), int(config.log_bytes)),
        )
        #: Why it has that tracker.
        self.why: str = _why(self.core.because, planned)
        stay_ahead_of_handlers()
        self.core.face = token
        #: Before the guest ran, and when it had come up; None once closed.
        self.pristine: Snapshot | None = self.take(token, "pristine")
        self.base: Snapshot | None = None
        #: The guest has run since it was last pristine.
        self._touched = False

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

    def put_back_to_pristine(self, token: object, face: object) -> None:
        """Restore the state before the guest ever ran, for token `face`."""
        pristine = self.pristine
        if pristine is None:
            raise ValueError("operation on a closed Sandbox")
        self._touched = False  # first: nothing may come after the restore
        try:
            self.core.restore(token, pristine, face)
        except BaseException:
            self._touched = True
            raise

    def close(self, token: object) -> None:
        """Free everything; a second call does nothing."""
        self.core.close(token)
        if self.core.closed:
            self.pristine = self.base = None

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

    # Calls.

    def come_up(self, token: object) -> dict[str, GuestFunction]:
        """Run the guest's initialization; the functions it exports."""
        if self._touched:
            self.put_back_to_pristine(token, self.core.face)
        self._touched = True
        limit = Limit.of(self.config, None, None)
        signatures = self.core.start(
            token,
            limit.nanoseconds(),
            functools.partial(self.calls.serve, limit),
        )
        return self.image.functions(signatures)

    def call(
        self,
        token: object,
        function: GuestFunction,
        args: tuple[object, ...],
        timeout: float | None,
    ) -> Value:
        """Call a function of the guest."""
        if timeout is None:
            return self.core.call(
                token, function, args, self._most, None, self
            )
        timeout = check_timeout("timeout", timeout)
        return self.core.call(
            token, function, args, deadline_after(timeout, 1), timeout, self
        )

    def map(
        self,
        token: object,
        function: GuestFunction,
        arguments: Iterator[tuple[object, ...]],
        timeout: float | None,
        *,
        restores: bool,
        goes_on: bool,
    ) -> list[Value | Exception]:
        """Call it for each; see :meth:`Sandbox.map`."""
        limit = self._most
        if timeout is not None:
            timeout = check_timeout("timeout", timeout)
            limit = deadline_after(timeout, 1)
        current = self.core.current
        if restores and current is not None and current is self.pristine:
            raise ValueError(
                "map: there is no snapshot to restore after each call, but "
                "that of a guest that has not come up: take one first"
            )
        batch = Batch(self.core, self, function, timeout, arguments, goes_on)
        batch.run(token, limit, restores)
        if restores and self.verifies:
            # What a restore missed is still missed after the last one.
            self.verify(token, self.current())
        return batch.results()

    def serve(
        self, function: GuestFunction, timeout: float | None, reason: int
    ) -> Exception | None:
        """What the core calls where the guest wants something in a call."""
        limit = Limit.of(self.config, function.name, timeout)
        return self.calls.serve(limit, reason)


def _start(
    driver: str,
    config: SandboxConfig,
    image: core.ImageCore,
    planned: Plan,
) -> core.SandboxCore:
    """The guest in its machine.

    Raises:
        TrackerUnavailable: The driver cannot use the tracker that is wanted.
    """
    tracked = _tracked(planned)
    try:
        return core.SandboxCore(
            driver,
            None if config.tracker == "auto" else config.tracker,
            _ABI,
            config.rearm == "adaptive",
            image,
            planned.base,
            planned.slots,
            planned.mapped,
            planned.spans,
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
