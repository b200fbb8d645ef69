"""The snapshot lifecycle: take and restore."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Literal, get_args

from hyperlight._ahead import stay_ahead_of_handlers
from hyperlight._binding import core
from hyperlight._copying import NotCopied
from hyperlight.errors import TrackerMissedPage, TrackerUnavailable
from hyperlight.memory import SharedMemory
from hyperlight.pageset import PageSet
from hyperlight.registry import HOST_TRACKERS
from hyperlight.snapshot import Snapshot, require_same_size
from hyperlight.stats import ManagerStats, RestoreStats
from hyperlight.units import one_of

__all__ = ["SnapshotManager"]

Rearm = Literal["adaptive", "always"]

_WHY = {
    core.ASKED_FOR: "asked for by name",
    core.FIRST_CHOICE: "the first choice, and it works",
    core.NEXT_CHOICE: "the first that works, after those in passed_over",
}


class SnapshotManager(NotCopied):
    """Takes snapshots of one memory and puts it back to any of them.

    Args:
        memory: The memory to manage, kept open until the manager is closed. A
            page can have only one manager.
        tracker: How writes are noticed: a name from
            :func:`hyperlight.trackers` that belongs to no driver, or
            ``"auto"`` for the first of them that can track this memory.
        rearm: ``"adaptive"`` leaves pages that are written in nearly every
            epoch unarmed and copies them back each time; ``"always"`` arms
            every page again, so that :meth:`dirty` reports more exactly which
            pages were written.

    Raises:
        TypeError: `memory` is not a :class:`SharedMemory`.
        ValueError: It is closed, or another argument is not valid.
        TrackerOverlap: Part of the memory already has a manager.
        TrackerUnavailable: The tracker asked for cannot track it here.

    The first :meth:`take` starts the tracking. Any thread may call any method
    at any time: calls on one manager wait for each other, and memory may be
    written by all threads throughout. A child made by :func:`os.fork` may
    continue to use its copy.

    With ``HYPERLIGHT_VERIFY=1`` in the environment when a manager is made,
    every restore is followed by :meth:`verify`.
    """

    # What half-built objects have: __new__ without __init__, or a failed one.
    _core: core.ManagerCore | None = None
    _memory: SharedMemory | None = None

    def __init__(
        self,
        memory: SharedMemory,
        *,
        tracker: str = "auto",
        rearm: Rearm = "adaptive",
    ) -> None:
        if self._core is not None:
            raise ValueError("this SnapshotManager is already set up")
        if not isinstance(memory, SharedMemory):
            raise TypeError(
                f"memory={memory!r} is not a SharedMemory: wrap it with "
                f"SharedMemory.from_buffer"
            )
        wanted = one_of("tracker", tracker, ("auto", *HOST_TRACKERS))
        self._rearm: Rearm = one_of("rearm", rearm, get_args(Rearm))
        self._verifies = os.environ.get("HYPERLIGHT_VERIFY") == "1"
        self._memory = memory
        self._core = self._start(memory, wanted)

    def _start(self, memory: SharedMemory, wanted: str) -> core.ManagerCore:
        adaptive = self._rearm == "adaptive"
        try:
            if wanted == "auto":
                made = core.ManagerCore(memory, None, adaptive)
            else:
                made = core.ManagerCore(memory, wanted, adaptive)
        except TrackerUnavailable as error:
            raise TrackerUnavailable(
                wanted, error.reason, self._usable(memory, wanted)
            ) from None
        # A child of fork may have to do with a trap, whatever this is.
        stay_ahead_of_handlers()
        return made

    @staticmethod
    def _usable(memory: SharedMemory, failed: str) -> list[str]:
        """Trackers that this memory can have: not one that just failed."""
        from hyperlight.trackers import usable_of

        if failed == "auto":
            return []
        return [
            name
            for name in usable_of(HOST_TRACKERS, failed)
            if core.why_not_tracked(memory, name) is None
        ]

    def _open_core(self) -> core.ManagerCore:
        made = self._core
        if made is None or made.closed:
            raise ValueError("operation on a closed SnapshotManager")
        return made

    def take(self, name: str | None = None) -> Snapshot:
        """Freeze the memory as it is now and make that :attr:`current`.

        Costs what changed: a page not written since :attr:`current` is shared
        with it, and an all-zero page takes no memory. Other threads may keep
        writing: a write that ended before this call is in the snapshot, any
        other is in it or in :meth:`dirty` afterwards.

        Args:
            name: A label for people.

        Raises:
            ValueError: The manager is closed, or the owner of borrowed memory
                unmapped part of it or closed it with mprotect. No snapshot was
                made; every page that was dirty is still dirty.
            MemoryError: The same, because memory ran out.
        """
        snapshot = Snapshot(name)
        self._open_core().take(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot | None = None) -> RestoreStats:
        """Make memory equal to the snapshot, which becomes :attr:`current`.

        Args:
            snapshot: Any snapshot of as many pages, from any manager; None for
                :attr:`current`.

        Raises:
            ValueError: There is no current snapshot, the manager is closed, or
                the owner of borrowed memory took away a page that must be
                written; memory is unchanged.
            TypeError: `snapshot` is not a snapshot.
            SnapshotMismatch: It has a different size.
            TrackerMissedPage: ``HYPERLIGHT_VERIFY=1`` found a page.
        """
        made = self._core
        if made is None or snapshot is not None:
            made = self._open_core()
            self._check(snapshot, made)
        stats = made.restore(snapshot)
        if self._verifies:
            self._verify(made, snapshot)
        return stats

    def _check(
        self, snapshot: Snapshot | None, made: core.ManagerCore
    ) -> None:
        if snapshot is None:
            return
        if not isinstance(snapshot, Snapshot):
            raise TypeError(f"snapshot={snapshot!r} is not a Snapshot")
        require_same_size(snapshot, made.page_count)

    def push(self, name: str | None = None) -> Snapshot:
        """:meth:`take`, and remember the snapshot for :meth:`pop`.

        Both happen or neither, even if it is interrupted.
        """
        snapshot = Snapshot(name)
        self._open_core().push(snapshot)
        return snapshot

    def pop(self) -> RestoreStats:
        """:meth:`restore` the snapshot pushed last, and forget it.

        Both happen or neither. Two threads that pop at once get two snapshots.

        Raises:
            IndexError: Nothing is pushed.
        """
        made = self._open_core()
        stats = made.pop()
        if self._verifies:
            self._verify(made, None)
        return stats

    @property
    def current(self) -> Snapshot | None:
        """The snapshot that memory equalled at the last take or restore."""
        made = self._core
        return None if made is None else made.current

    def dirty(self) -> PageSet:
        """Pages that may have changed since :attr:`current`.

        Never misses a changed page. May also report pages that were rewritten
        with the same bytes, hot pages, and with ``full`` every page. Before
        the first take it reports every page.
        """
        made = self._open_core()
        return PageSet._wrap(made.dirty(), made.page_count)

    def changed(
        self, snapshot: Snapshot | None = None, *, everything: bool = False
    ) -> PageSet:
        """The pages that differ from a snapshot, by comparing their bytes.

        Only pages that :meth:`dirty` reports are compared: a change that the
        tracker cannot see (see the page on limits) is not found.

        Args:
            snapshot: What to compare with; None for :attr:`current`.
            everything: Compare all pages, regardless of the tracker, at the
                cost of reading all of memory and snapshot.

        Raises:
            ValueError: There is no current snapshot, or the manager is closed.
            SnapshotMismatch: The snapshot is of another size.
        """
        made = self._open_core()
        self._check(snapshot, made)
        bits = made.changed(snapshot, bool(everything))
        return PageSet._wrap(bits, made.page_count)

    def verify(self, snapshot: Snapshot | None = None) -> None:
        """Prove by comparing every byte that the tracker missed nothing.

        Args:
            snapshot: What memory is compared with; None for :attr:`current`.

        Raises:
            TrackerMissedPage: A page differs although nothing reported it.
            ValueError: There is no current snapshot, or the manager is closed.
            SnapshotMismatch: The snapshot is of another size.
        """
        made = self._open_core()
        self._check(snapshot, made)
        self._verify(made, snapshot)

    def _verify(
        self, made: core.ManagerCore, snapshot: Snapshot | None
    ) -> None:
        missed = PageSet._wrap(made.verify(snapshot), made.page_count)
        if missed:
            raise TrackerMissedPage(made.tracker, list(missed))

    @property
    def tracker(self) -> str:
        """Name of the tracker in use."""
        return self._open_core().tracker

    @property
    def stats(self) -> ManagerStats:
        """Counts since the manager was made, and its choices with reasons."""
        made = self._open_core()
        counts = made.stats()
        why = _WHY[made.because]
        if counts["reopened"]:
            why = "what a child made by fork could open"
        return {
            **counts,
            "why": why,
            "rearm": self._rearm,
            "passed_over": dict(made.passed_over),
        }

    @property
    def closed(self) -> bool:
        """True once tracking has ended."""
        return self._core is None or self._core.closed

    def close(self) -> None:
        """End tracking; a second call does nothing. Snapshots stay usable.

        Waits for a call of another thread; later calls raise ValueError.
        """
        if self._core is not None:
            self._core.close()

    def __enter__(self) -> SnapshotManager:
        self._open_core()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if sys.flags.dev_mode and not self.closed:
            warnings.warn(
                f"unclosed {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __repr__(self) -> str:
        try:
            return (
                f"<SnapshotManager of {self._memory!r}, tracker "
                f"{self.tracker!r}, current {self.current!r}>"
            )
        except ValueError:
            return "<SnapshotManager, closed>"
