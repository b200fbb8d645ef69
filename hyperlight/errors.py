"""All errors other than wrong arguments.

Wrong arguments raise :class:`ValueError`, :class:`TypeError` or
:class:`IndexError`; use after close is :class:`ValueError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hyperlight.text import count, printable

__all__ = [
    "DriverUnavailable",
    "EmulatorWarning",
    "GuestAborted",
    "GuestError",
    "GuestInterrupted",
    "GuestTimeout",
    "HyperlightError",
    "LayoutError",
    "LimitExceeded",
    "ProgramExited",
    "SandboxPoisoned",
    "SnapshotMismatch",
    "TrackerMissedPage",
    "TrackerOverlap",
    "TrackerUnavailable",
]


class HyperlightError(Exception):
    """Base of this library's own errors.

    Attributes:
        index (int): Set by :meth:`Sandbox.map` alone: which of its calls the
            error is of, from 0.
        results (list[object]): Likewise: the results of the calls before it.
        stdout (bytes): Set by sandboxes of programs alone: what the program
            wrote to its standard output until then.
        stderr (bytes): Likewise: to its standard error.
    """

    index: int
    results: list[object]
    stdout: bytes
    stderr: bytes


class TrackerUnavailable(HyperlightError):
    """The tracker that was asked for cannot run here.

    Attributes:
        tracker (str): Its name.
        reason (str): What is missing or forbidden.
        usable (tuple[str, ...]): Names of the trackers that can be used
            instead.
        where (str): What these names are usable for: ``"here"``, or ``"for
            this memory"``.
    """

    def __init__(
        self,
        tracker: str,
        reason: str,
        usable: Sequence[str] = (),
        where: str = "for this memory",
    ) -> None:
        super().__init__(tracker, reason, tuple(usable), where)
        self.tracker = tracker
        self.reason = reason
        self.usable: tuple[str, ...] = tuple(usable)
        self.where = where

    def __str__(self) -> str:
        text = f"tracker={self.tracker!r}: {self.reason}"
        if self.usable:
            text += f"; usable {self.where}: {', '.join(self.usable)}"
        return text


class TrackerOverlap(HyperlightError):
    """Part of the memory is tracked by another manager already."""


class TrackerMissedPage(HyperlightError):
    """Pages differ from the snapshot although the tracker reported no write.

    Never seen in a working system: it means that the kernel, the hardware or
    this library lost a write, or that memory was written behind the tracker's
    back (by a debugger, or through another mapping of the same bytes).

    Attributes:
        tracker (str): The tracker's name.
        pages (tuple[int, ...]): Page numbers that were missed, ascending.
    """

    def __init__(self, tracker: str, pages: Sequence[int]) -> None:
        super().__init__(tracker, tuple(pages))
        self.tracker = tracker
        self.pages: tuple[int, ...] = tuple(pages)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.pages[:8]))
        more = ", ..." if len(self.pages) > 8 else ""
        return (
            f"tracker {self.tracker!r} missed "
            f"{count(len(self.pages), 'page')}: "
            f"{shown}{more}"
        )


class SnapshotMismatch(HyperlightError):
    """The snapshot is of memory of another size or layout."""


class DriverUnavailable(HyperlightError):
    """The hypervisor driver that was asked for cannot run here.

    Attributes:
        driver (str): Its name.
        reason (str): What is missing or forbidden, and whom to ask.
        usable (tuple[str, ...]): Names of the drivers that can run here.
    """

    def __init__(
        self, driver: str, reason: str, usable: Sequence[str] = ()
    ) -> None:
        super().__init__(driver, reason, tuple(usable))
        self.driver = driver
        self.reason = reason
        self.usable: tuple[str, ...] = tuple(usable)

    def __str__(self) -> str:
        text = f"driver={self.driver!r}: {self.reason}"
        if self.usable:
            text += f"; usable here: {', '.join(self.usable)}"
        return text


class LayoutError(HyperlightError):
    """Regions of guest memory overlap, or do not fit."""


class LimitExceeded(HyperlightError):
    """A request exceeds a limit of the configuration.

    Attributes:
        limit (str): Name of the limit, as the configuration has it.
        value (object): What it is set to.
        stdout (bytes): What a program wrote to its standard output before.
        stderr (bytes): What it wrote to its standard error before.
    """

    stdout: bytes = b""
    stderr: bytes = b""

    def __init__(self, limit: str, value: object) -> None:
        super().__init__(limit, value)
        self.limit = limit
        self.value = value

    def __str__(self) -> str:
        return f"more than {self.limit}={self.value!r} allows"


class ProgramExited(HyperlightError):
    """The program ended where it should have waited for a request.

    Attributes:
        exit_code (int | None): What it exited with; None: by a signal.
        signal (int | None): Number of the signal that ended it.
        stdout (bytes): What it wrote to its standard output before.
        stderr (bytes): What it wrote to its standard error before.
        refused (dict[str, int]): System calls that were not served, counted.
        detail (str): More for people: what it did last.
    """

    def __init__(
        self,
        exit_code: int | None,
        signal: int | None,
        stdout: bytes = b"",
        stderr: bytes = b"",
        refused: Mapping[str, int] | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(exit_code, signal, stdout, stderr, refused, detail)
        self.exit_code = exit_code
        self.signal = signal
        self.stdout = stdout
        self.stderr = stderr
        self.refused: dict[str, int] = dict(refused or {})
        self.detail = detail

    def __str__(self) -> str:
        text = (
            f"the program ended by signal {self.signal}"
            if self.exit_code is None
            else f"the program exited with {self.exit_code}"
        )
        if self.detail:
            text += f" ({self.detail})"
        last = self.stderr.decode("utf-8", "replace").strip()
        if last:
            text += f": {printable(last[-500:], 500)}"
        if self.refused:
            calls = ", ".join(f"{n} ({c})" for n, c in self.refused.items())
            text += f"; system calls that are not served: {calls}"
        return text


class GuestError(HyperlightError):
    """The guest function failed; the sandbox stays usable.

    Attributes:
        code (int): One of ``guest/abi.h``'s ``HL_ERROR_*``, or the guest's
            own from 1000 on.
        message (str): The guest's own text, unmodified: untrusted and of any
            length. ``str()`` of the error is safe to show to people.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{printable(self.message)} (code {self.code})"

    def __repr__(self) -> str:
        return _repr(self)


class GuestAborted(HyperlightError):
    """The guest faulted, gave up, or broke the protocol; restore it first.

    Attributes:
        reason (str): What happened. If the guest gave up, this includes its
            own text, which is untrusted. ``str()`` of the error is safe to
            show to people.
        vector (int | None): Number of the processor exception (Intel SDM
            vol. 3, 6.3), or None if it was none.
        error_code (int | None): The processor's error code.
        rip (int | None): Address of the instruction.
        cr2 (int | None): Address that was accessed, for a page fault.
    """

    def __init__(
        self,
        reason: str,
        vector: int | None = None,
        error_code: int | None = None,
        rip: int | None = None,
        cr2: int | None = None,
    ) -> None:
        super().__init__(reason, vector, error_code, rip, cr2)
        self.reason = reason
        self.vector = vector
        self.error_code = error_code
        self.rip = rip
        self.cr2 = cr2

    def __str__(self) -> str:
        return printable(self.reason)

    def __repr__(self) -> str:
        return _repr(self)


class GuestTimeout(HyperlightError):
    """The call took longer than it was allowed to; restore first.

    Attributes:
        function (str | None): Name of the guest's function; None: its start.
        seconds (float | None): The limit, or None where it is not known.
        origin (str): Who set it: ``"timeout"``, an argument of the call, or
            ``"call_timeout"`` or ``"start_timeout"``, of the configuration.
        stdout (bytes): What a program wrote to its standard output before.
        stderr (bytes): What it wrote to its standard error before.

    If `function` contains spaces, which no function's name does, it is taken
    as the message, and the attributes are unknown.
    """

    stdout: bytes = b""
    stderr: bytes = b""

    def __init__(
        self,
        function: str | None,
        seconds: float | None = None,
        origin: str = "timeout",
    ) -> None:
        super().__init__(function, seconds, origin)
        self.function: str | None = _name_or_none(function)
        self.seconds = seconds
        self.origin = origin

    def __str__(self) -> str:
        if self.function != self.args[0]:
            return printable(self.args[0])
        limit = "it was allowed to"
        if self.seconds is not None:
            limit = f"{self.seconds:.12g} s"
        return (
            f"{_what(self.function)} took longer than {limit} ({self.origin})"
        )


class GuestInterrupted(HyperlightError):
    """The call was interrupted; restore first.

    Attributes:
        function (str | None): Name of the guest's function; None: its start.
        stdout (bytes): What a program wrote to its standard output before.
        stderr (bytes): What it wrote to its standard error before.

    If `function` contains spaces, which no function's name does, it is taken
    as the message, and the attribute is unknown.
    """

    stdout: bytes = b""
    stderr: bytes = b""

    def __init__(self, function: str | None) -> None:
        super().__init__(function)
        self.function: str | None = _name_or_none(function)

    def __str__(self) -> str:
        if self.function != self.args[0]:
            return printable(self.args[0])
        return f"{_what(self.function)} was interrupted"


class SandboxPoisoned(HyperlightError):
    """An earlier call did not end normally; the guest may be in any state."""


class EmulatorWarning(UserWarning):
    """A sandbox runs in the emulator, which is not a security boundary.

    The emulator was not asked for by name, but chosen because no hypervisor
    can be used. To accept that, set ``driver="emulator"`` in the
    configuration; to refuse it, call ``warnings.filterwarnings("error",
    category=EmulatorWarning)``.
    """


def _name_or_none(function: str | None) -> str | None:
    return None if function is None or " " in function else function


def _what(function: str | None) -> str:
    return "the guest's start" if function is None else printable(function)


def _repr(error: HyperlightError) -> str:
    """The class and its arguments, with text escaped: it may be hostile."""
    shown = ", ".join(
        repr(printable(arg)) if isinstance(arg, str) else repr(arg)
        for arg in error.args
    )
    return f"{type(error).__name__}({shown})"


for _name in __all__:
    globals()[_name].__module__ = "hyperlight"
