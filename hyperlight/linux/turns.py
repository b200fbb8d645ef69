"""Whose turn it is with a Python sandbox."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["Turn"]


class Turn:
    """Lets in one thread at a time, each for one whole run.

    A thread that has the turn meets itself where its own run calls it back: in
    a handler of output, a signal handler, a finalizer. Waiting would have no
    end there, so that is refused. So is a child of fork, whose copy of the
    lock may be held by a thread that it does not have.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._process = os.getpid()

    @property
    def forked(self) -> bool:
        """True in a child of the process that made it."""
        return os.getpid() != self._process

    @contextlib.contextmanager
    def taken(self, what: str) -> Iterator[None]:
        """The turn, for `what`.

        Raises:
            RuntimeError: This thread has it already.
            ValueError: This is a child of fork.
        """
        if self.forked:
            raise ValueError(
                "this sandbox belongs to the process that made it: a child of "
                "fork can only close it"
            )
        # The lock knows: a note of the owner would come a moment after it.
        if self._lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError(
                f"{what}: called from the middle of a run of this very sandbox"
            )
        with self._lock:
            yield
