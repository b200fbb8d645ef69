"""What runs of untrusted Python give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hyperlight.errors import GuestError
from hyperlight.linux.guest.packets import cut
from hyperlight.stats import RestoreStats
from hyperlight.text import printable

__all__ = ["PythonError", "PythonResult", "RunStats"]

#: HL_ERROR_GUEST of guest/abi.h: the function failed.
_FAILED = 1


class PythonError(GuestError):
    """An exception that ended a script or function in a sandbox.

    All text is the guest's own: untrusted, and of bounded length. ``str()``
    of the error is safe to show to people.

    Attributes:
        type (str): Name of its class, with its module unless that is
            ``builtins`` or the script itself.
        message (str): Its text.
        traceback (str): As Python shows it, lines of the script included.
    """

    args: tuple[Any, ...]

    def __init__(self, kind: str, message: str, traceback: str = "") -> None:
        super().__init__(_FAILED, message)
        self.args = (kind, message, traceback)
        self.type = kind
        self.traceback = traceback

    def __str__(self) -> str:
        name = printable(self.type)
        text = printable(self.message)
        return f"{name}: {text}" if text else name


class RunStats(NamedTuple):
    """What a run took."""

    #: In the guest. What host functions took is not included.
    seconds: float
    #: Calls of host functions.
    host_calls: int
    #: What the restore afterwards did; None if there was none.
    restore: RestoreStats | None = None


@dataclass(frozen=True)
class PythonResult:
    """What a script gave.

    A plain value is None or, exactly and all through, of the types ``bool``,
    ``int``, ``float``, ``str``, ``bytes``, ``list``, ``tuple``, ``dict``.
    """

    #: The value of the last statement, if that is an expression and its value
    #: plain; else None.
    value: Any
    #: What it wrote to its standard output. Bytes that are no UTF-8 are shown
    #: as escapes.
    stdout: str
    #: And to its standard error.
    stderr: str
    #: The exception that ended it, or None.
    error: PythonError | None
    #: What it took.
    stats: RunStats
    #: True if the last statement was an expression.
    has_value: bool = True
    _shown: str | None = field(default=None, repr=False)

    @property
    def plain(self) -> bool:
        """False if the value was no plain one, and is only in :attr:`repr`."""
        return self._shown is None

    @property
    def repr(self) -> str | None:
        """The value as ``repr`` shows it, cut if long; None: there is none."""
        if not self.has_value:
            return None
        if self._shown is not None:
            return self._shown
        try:
            return cut(repr(self.value))
        except ValueError:  # ints longer than sys.get_int_max_str_digits()
            return "<a value with a very large int>"
