"""A native guest in its machine, as shared by both kinds of sandboxes."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from hyperlight._binding import core
from hyperlight.sandbox.batch import Batch
from hyperlight.sandbox.calls import Calls, Limit
from hyperlight.sandbox.config import (
    SandboxConfig,
    check_timeout,
    config_or_default,
    deadline_after,
)
from hyperlight.sandbox.functions import GuestFunction, Value
from hyperlight.sandbox.images import Guest, Image, read_guest
from hyperlight.sandbox.log import GuestLog
from hyperlight.sandbox.state import GuestState
from hyperlight.snapshot import Snapshot

__all__ = ["Guest", "Machine"]

#: The guest ABI that is asked for by name; None: the one of the guest's file.
_ABI: str | None = None


class Machine(GuestState[core.SandboxCore]):
    """The machine that an UninitializedSandbox and its Sandbox share."""

    def __init__(
        self, guest: Guest, config: SandboxConfig | None, token: object
    ) -> None:
        config = config_or_default(config)
        name, image = read_guest(guest)
        self.image: Image = image
        planned = image.plan(config)

        def make(driver: str, tracker: str | None) -> core.SandboxCore:
            return core.SandboxCore(
                driver,
                tracker,
                _ABI,
                config.rearm == "adaptive",
                image.core,
                planned.base,
                planned.slots,
                planned.mapped,
                planned.spans,
            )

        super().__init__(name, config, image.digest, planned, make)
        #: ns that a call may take that has no timeout of its own; 0: any.
        self._most: int = deadline_after(config.call_timeout, 1)
        #: What the guest asks for in the middle of a call.
        self.calls: Calls = Calls(
            self.core,
            self.layout,
            GuestLog(self.name, int(config.log_lines), int(config.log_bytes)),
        )
        self.core.face = token
        #: Before the guest ran; None once closed.
        self.pristine: Snapshot | None = self.take(token, "pristine")
        #: The guest has run since it was last pristine.
        self._touched = False

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
            self.pristine = None
            self.base: Snapshot | None = None

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
