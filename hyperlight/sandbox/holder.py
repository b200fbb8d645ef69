"""What both kinds of sandboxes are: holders of a machine, one at a time."""

from __future__ import annotations

import sys
import warnings

from hyperlight._copying import NotCopied
from hyperlight.sandbox.layout import MemoryLayout
from hyperlight.sandbox.machine import Machine

__all__ = ["Holder"]


class Holder(NotCopied):
    """Has a machine until that is closed, or is given to another holder."""

    _bound_to = "machine"
    #: The error for a use after that.
    _gone = "operation on a closed Sandbox"
    _machine: Machine | None = None  # until __init__ has run
    _token: object = None

    def _open(self) -> Machine:
        machine = self._machine
        if machine is None or not machine.is_open_for(self._token):
            raise ValueError(self._gone)
        return machine

    @property
    def layout(self) -> MemoryLayout:
        """Where everything lies in the guest's memory."""
        return self._open().layout

    @property
    def driver(self) -> str:
        """Name of the driver."""
        return self._open().driver

    @property
    def closed(self) -> bool:
        """True once it was closed, evolved or devolved."""
        machine = self._machine
        return machine is None or not machine.is_open_for(self._token)

    def close(self) -> None:
        """Free everything; a second call does nothing.

        Waits for a call under way. Snapshots stay usable.

        Raises:
            RuntimeError: Called from a host function.
        """
        if self._machine is not None:
            self._machine.close(self._token)

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not sys.flags.dev_mode or getattr(self, "_token", None) is None:
            return
        if not self.closed:
            warnings.warn(
                f"unclosed {self!r}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
