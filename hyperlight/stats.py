"""What restores did, and the counts of managers and sandboxes."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

__all__ = ["ManagerStats", "RestoreStats", "SandboxStats", "TrackingStats"]


class RestoreStats(NamedTuple):
    """What one restore did."""

    #: Pages whose bytes were copied back.
    pages_copied: int
    #: Pages that were set to zero.
    pages_zeroed: int
    #: Bytes written by both.
    bytes: int
    #: The tracker that reported the pages.
    tracker: str


class TrackingStats(TypedDict):
    """Counts since tracking began.

    Attributes:
        tracker: Name of the tracker.
        pages: Pages that are tracked.
        hot_pages: Pages that are left unarmed, because nearly every epoch
            writes them.
        takes: Snapshots taken.
        restores: Restores done.
        pages_stored: Pages that takes copied into the page store.
        pages_copied: Pages that restores copied back.
        pages_zeroed: Pages that restores set to zero.
        pages_raced: Pages that another thread wrote while they were restored.
        guesses: Times that every page was assumed to be written.
        reopened: Times that the tracker was reopened after a fork.
        pages_widened: Pages that restores of far snapshots left unarmed,
            because that was cheaper than to arm what differed.
        collapsed: Times that huge pages which tracking had split were made
            whole.
        pages_expected: Pages that :meth:`SharedMemory.write` and
            :meth:`~SharedMemory.fill` un-armed at once before they wrote to
            them.
        store_pages: Pages in the page store that the snapshots of one manager
            share.
        store_nodes: Nodes of that store.
        store_bytes: Bytes that it holds.
        store_reserved: Bytes that it has reserved.
    """

    tracker: str
    pages: int
    hot_pages: int
    takes: int
    restores: int
    pages_stored: int
    pages_copied: int
    pages_zeroed: int
    pages_raced: int
    guesses: int
    reopened: int
    pages_widened: int
    collapsed: int
    pages_expected: int
    store_pages: int
    store_nodes: int
    store_bytes: int
    store_reserved: int


class ManagerStats(TrackingStats):
    """The counts and further fields of :attr:`SnapshotManager.stats`.

    Attributes:
        why: The reason for the choice of the tracker.
        rearm: The manager's argument of that name.
        passed_over: Each tracker that ``"auto"`` could not use, and the
            reason.
    """

    why: str
    rearm: Literal["adaptive", "always"]
    passed_over: dict[str, str]


class SandboxStats(TrackingStats):
    """The counts and further fields of :attr:`Sandbox.stats`.

    Attributes:
        driver: Name of the driver.
        why: The reason for the choice of the tracker.
        passed_over: Each tracker that ``"auto"`` could not use, and the
            reason.
    """

    driver: str
    why: str
    passed_over: dict[str, str]
