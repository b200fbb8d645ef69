"""What a guest asks for in the middle of a call, and how long it may take."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from hyperlight._binding import core
from hyperlight.errors import GuestAborted, GuestInterrupted, GuestTimeout
from hyperlight.sandbox.config import (
    SandboxConfig,
    check_timeout,
    deadline_after,
)
from hyperlight.sandbox.faults import describe_fault
from hyperlight.sandbox.functions import HostFunction
from hyperlight.sandbox.layout import MemoryLayout
from hyperlight.sandbox.log import GuestLog
from hyperlight.text import brief, printable, sentence_of

__all__ = ["Calls", "Limit"]

_LOGGING = "a handler of log lines"


class Limit(NamedTuple):
    """A time limit for a guest, and where it comes from."""

    #: The function that is limited; None: the guest's start.
    function: str | None
    seconds: float | None
    origin: str

    @classmethod
    def of(
        cls,
        config: SandboxConfig,
        function: str | None,
        timeout: float | None,
    ) -> Limit:
        """The limit of a call: its own, or else the configuration's."""
        if timeout is not None:
            return cls(function, check_timeout("timeout", timeout), "timeout")
        if function is None and config.call_timeout is None:
            return cls(None, config.start_timeout, "start_timeout")
        return cls(function, config.call_timeout, "call_timeout")

    def nanoseconds(self) -> int:
        """How long; at least 1, or 0 for no limit."""
        return deadline_after(self.seconds, 1)


class Calls:
    """Serves the guest of one machine until it is ready for the next call.

    The core calls :meth:`serve` in the middle of a call, by the thread that
    has the turn.
    """

    def __init__(
        self, core: core.SandboxCore, layout: MemoryLayout, log: GuestLog
    ) -> None:
        self._core = core
        self._layout = layout
        self._log = log
        #: What the guest may call, by name.
        self.host_functions: dict[str, HostFunction] = {}

    def serve(self, limit: Limit, reason: int) -> Exception | None:
        """Serve the guest's requests until it is ready.

        Returns the last exception of a host function, which the guest may pass
        on, handle, or replace by a failure of its own.

        Raises:
            GuestAborted: The guest will never be ready.
        """
        self._log.begin()
        try:
            failure: Exception | None = None
            while reason != core.LEFT_READY:
                if reason == core.LEFT_HOST_CALL:
                    failure = self._serve_call()
                elif reason == core.LEFT_LOG:
                    level, text = self._core.message(core.MESSAGE_LOG)
                    self._core.inside = _LOGGING
                    self._log.line(level, text)
                    self._core.inside = None
                else:
                    self._give_up(limit, reason)
                reason = self._core.resume()
            return failure
        finally:
            self._core.inside = _LOGGING
            self._log.end()
            self._core.inside = None

    def _serve_call(self) -> Exception | None:
        """Call a host function for the guest; what it raised, if anything."""
        name, *values = self._core.message(core.MESSAGE_CALL)
        wanted = self._core.wanted()
        function = self.host_functions.get(name)
        if function is None:
            self._core.reply_error(
                core.ERROR_NO_FUNCTION,
                f"no host function is called {printable(name, 128)!r}",
            )
            return None
        complaint = function.complaint(values)
        if complaint is not None:
            self._core.reply_error(core.ERROR_ARGUMENTS, complaint)
            return None
        self._core.inside = f"host function {name!r}"
        try:
            result = function.function(*values)
            self._reply(name, wanted, result)
        except Exception as error:
            text = f"{name}: {sentence_of(error)}"
            self._core.reply_error(core.ERROR_HOST, text)
            return error
        finally:
            self._core.inside = None
        return None

    def _reply(self, name: str, wanted: int, result: object) -> None:
        try:
            self._core.reply(wanted, result)
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(
                f"host function {name!r} returned {brief(result)}, but the "
                f"guest expects {core.TYPES[wanted]}: {error}"
            ) from None

    def _give_up(self, limit: Limit, reason: int) -> NoReturn:
        if reason == core.LEFT_TIMEOUT:
            raise GuestTimeout(limit.function, limit.seconds, limit.origin)
        if reason == core.LEFT_INTERRUPTED:
            raise GuestInterrupted(limit.function)
        if reason == core.LEFT_ABORT:
            code, text = self._core.message(core.MESSAGE_ERROR)
            raise GuestAborted(f"the guest gave up: {text} (code {code})")
        raise describe_fault(
            self._core.left_by(),
            self._layout,
            read=self._code_at,
            detail=self._core.left_detail(),
        )

    def _code_at(self, address: int, size: int) -> bytes:
        return self._core.code_at(address)[:size]
