"""Snapshots: saved content of memory."""

from __future__ import annotations

import itertools
import weakref

from hyperlight._binding import core
from hyperlight._copying import NotPickled
from hyperlight.errors import SnapshotMismatch
from hyperlight.pageset import PageSet
from hyperlight.units import format_size

__all__ = ["Snapshot"]

_ids = itertools.count(1)


class Snapshot(NotPickled, core.SnapshotCore):
    """The immutable content of a region at one moment.

    Made by :meth:`SnapshotManager.take` and :meth:`Sandbox.snapshot`. Holds
    only the pages that changed since its parent, and stays usable after its
    manager and memory are gone.
    To drop it, delete the last reference to it: pages that no other snapshot
    shares are freed at once. Any thread may use it.
    """

    #: A label for people.
    name: str | None = None
    #: A number that no other snapshot of this process has.
    id: int = 0

    # Driver, guest and layout, where it is a sandbox's.
    _identity: tuple[str, bytes, object] | None = None

    def __init__(
        self,
        name: str | None = None,
        *,
        parent: Snapshot | None = None,
    ) -> None:
        if "id" in self.__dict__:
            raise ValueError("this Snapshot is already set up")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name={name!r} is neither text nor None")
        self.name = name
        self.id = next(_ids)
        self._parent = None if parent is None else weakref.ref(parent)

    @property
    def parent(self) -> Snapshot | None:
        """What was current when this was taken; None if that is gone."""
        return None if self._parent is None else self._parent()

    def diff(self, other: Snapshot) -> PageSet:
        """Exactly the pages whose bytes differ between the two.

        Raises:
            TypeError: `other` is not a snapshot.
            SnapshotMismatch: It is of another size.
        """
        if not isinstance(other, Snapshot):
            raise TypeError(f"other={other!r} is not a Snapshot")
        require_same_size(self, other.page_count, "self")
        return PageSet._wrap(self._diff(other), self.page_count)

    def __copy__(self) -> Snapshot:
        return self  # it never changes

    def __deepcopy__(self, memo: dict[int, object]) -> Snapshot:
        return self

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        try:
            held = (
                f"{format_size(self.nbytes)} of {format_size(self.size)} "
                f"its own"
            )
        except ValueError:
            held = "empty"
        return f"<Snapshot #{self.id}{name}: {held}>"


def require_same_size(
    snapshot: Snapshot, page_count: int, name: str = "snapshot"
) -> None:
    """Raise SnapshotMismatch unless the snapshot has that many pages."""
    if snapshot.page_count != page_count:
        raise SnapshotMismatch(
            f"{name}={snapshot!r} has {snapshot.page_count} pages, and "
            f"{page_count} are needed"
        )
