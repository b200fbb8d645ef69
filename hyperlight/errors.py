"""Everything that can go wrong and is not a misuse of arguments.

Misuse of arguments is :class:`ValueError`, :class:`TypeError` or
:class:`IndexError`; use after close is :class:`ValueError`.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "HyperlightError",
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
        usable: Names of the trackers that can run here.
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
            text += f"; usable here: {', '.join(self.usable)}"
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


for _name in __all__:
    globals()[_name].__module__ = "hyperlight"
