"""Log lines of a guest, on their way to :mod:`logging`.

A guest chooses level, text and number of its lines, and may be hostile. So a
line is escaped and cut before it becomes a log record, and the lines and bytes
of a call are limited; excess lines are counted and reported once.
"""

from __future__ import annotations

import logging

from hyperlight.text import count, printable

__all__ = ["GuestLog"]

_log = logging.getLogger("hyperlight.guest")

#: Characters of one line.
LINE = 16384


class GuestLog:
    """The log of one sandbox: ``begin``, any number of ``line``, ``end``.

    Records go to logger ``hyperlight.guest``, with the guest's name as their
    attribute ``guest``. Text from a guest cannot make logging raise: it is an
    argument, not a format, and has only printable characters. Exceptions from
    a handler or a filter, including KeyboardInterrupt, are the host's own and
    go to the caller of :meth:`line` or :meth:`end`; the counts stay correct.

    The caller makes one call at a time. Handlers are foreign code: hold no
    lock that they might need.

    Args:
        name: The guest's, for people.
        lines: How many a call may log.
        size: How many bytes of UTF-8 they may have together, escapes counted
            as they are logged.
    """

    def __init__(self, name: str, lines: int, size: int) -> None:
        self._extra = {"guest": name}
        self._most = lines, size
        self.begin()

    def begin(self) -> None:
        """A call starts: the limits are whole again."""
        self._lines, self._bytes = self._most
        #: Lines that were not logged in this call, and bytes of their text.
        self.dropped_lines: int = 0
        self.dropped_bytes: int = 0

    def line(self, level: int, text: str) -> None:
        """Log a line, or count it if a limit is exceeded.

        Once a line was dropped, all later ones of the call are dropped too: a
        log with holes would be misleading. Lines below the logger's level cost
        nothing and are not counted.

        Args:
            level: As those of :mod:`logging`; kept between 1 and 50.
            text: As the guest wrote it.
        """
        level = min(max(level, 1), logging.CRITICAL)
        if not _log.isEnabledFor(level):
            return
        if self._lines > 0:
            shown = printable(text, LINE)
            size = len(shown.encode())
            if size <= self._bytes:
                self._lines -= 1
                self._bytes -= size
                _log.log(level, "%s", shown, extra=self._extra)
                return
            self._lines = 0
        self.dropped_lines += 1
        self.dropped_bytes += len(text.encode("utf-8", "surrogatepass"))

    def end(self) -> tuple[int, int]:
        """The call is over, however it ended.

        Returns:
            How many lines, and bytes of text, were dropped. If any, a warning
            says so, once.
        """
        dropped = self.dropped_lines, self.dropped_bytes
        if self.dropped_lines:
            self.begin()
            lines, size = dropped
            _log.warning(
                "dropped %s (%s) of the guest's log: the limits of a call "
                "are log_lines=%d and log_bytes=%d",
                count(lines, "line"),
                count(size, "byte"),
                *self._most,
                extra=self._extra,
            )
        return dropped
