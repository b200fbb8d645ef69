"""Everything that can go wrong and is not a misuse of arguments.

Misuse of arguments is :class:`ValueError`, :class:`TypeError` or
:class:`IndexError`; use after close is :class:`ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "DriverUnavailable",
    "GuestAborted",
    "GuestError",
    "GuestInterrupted",
    "GuestTimeout",
    "HyperlightError",
    "LayoutError",
    "SandboxPoisoned",
    "SnapshotMismatch",
    "TrackerMissedPage",
    "TrackerOverlap",
    "TrackerUnavailable",
]


class HyperlightError(Exception):
    """Base of this library's own errors."""


class TrackerUnavailable(HyperlightError):
    """The tracker that was asked for cannot run here.

    Attributes:
        tracker: Its name.
        reason: What is missing or forbidden.
        usable: Names of the trackers that this memory can have here.
    """

    def __init__(
        self, tracker: str, reason: str, usable: Sequence[str] = ()
    ) -> None:
        super().__init__(tracker, reason, tuple(usable))
        self.tracker = tracker
        self.reason = reason
        self.usable = tuple(usable)

    def __str__(self) -> str:
        text = f"tracker={self.tracker!r}: {self.reason}"
        if self.usable:
            text += f"; usable for this memory: {', '.join(self.usable)}"
        return text


class TrackerOverlap(HyperlightError):
    """Part of the memory is tracked by another manager already."""


class TrackerMissedPage(HyperlightError):
    """Pages differ from the snapshot although the tracker reported no write.

    Never seen in a working system: it means that the kernel, the hardware or
    this library lost a write, or that memory was written behind the tracker's
    back (by a debugger, or through another mapping of the same bytes).

    Attributes:
        tracker: The tracker's name.
        pages: Page numbers that were missed, ascending.
    """

    def __init__(self, tracker: str, pages: Sequence[int]) -> None:
        super().__init__(tracker, tuple(pages))
        self.tracker = tracker
        self.pages = tuple(pages)

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.pages[:8]))
        more = ", ..." if len(self.pages) > 8 else ""
        return (
            f"tracker {self.tracker!r} missed {len(self.pages)} pages: "
            f"{shown}{more}"
        )


class SnapshotMismatch(HyperlightError):
    """The snapshot is of memory of another size or layout."""


class DriverUnavailable(HyperlightError):
    """The hypervisor driver that was asked for cannot run here.

    Attributes:
        driver: Its name.
        reason: What is missing or forbidden, and whom to ask.
        usable: Names of the drivers that can run here.
    """

    def __init__(
        self, driver: str, reason: str, usable: Sequence[str] = ()
    ) -> None:
        super().__init__(driver, reason, tuple(usable))
        self.driver = driver
        self.reason = reason
        self.usable = tuple(usable)

    def __str__(self) -> str:
        text = f"driver={self.driver!r}: {self.reason}"
        if self.usable:
            text += f"; usable here: {', '.join(self.usable)}"
        return text


class LayoutError(HyperlightError):
    """Regions of guest memory overlap, or do not fit."""


class GuestError(HyperlightError):
    """The guest function said no; the sandbox can go on.

    Attributes:
        code: One of ``guest/abi.h``'s ``HL_ERROR_*``, or the guest's own from
            1000 on.
        message: What the guest says about it.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"


class GuestAborted(HyperlightError):
    """The guest faulted, gave up, or broke the rules; restore it first.

    Attributes:
        reason: What happened.
        vector: Number of the processor exception (Intel SDM vol. 3, 6.3), or
            None if it was none.
        error_code: What the processor says about it.
        rip: Address of the instruction.
        cr2: Address that was accessed, for a page fault.
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
        return self.reason


class GuestTimeout(HyperlightError):
    """The call took longer than it was allowed to; restore first."""


class GuestInterrupted(HyperlightError):
    """Somebody interrupted the call; restore first."""


class SandboxPoisoned(HyperlightError):
    """A call did not end well, and the guest may be in any state."""


for _name in __all__:
    globals()[_name].__module__ = "hyperlight"
