"""Standard output of the command line: tables, and what if it fails.

The rule: text from outside (of the system, of libraries, of guests) is shown
and never interpreted. There is no markup and no emoji code here, and control
characters are escaped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hyperlight.text import printable

__all__ = ["cell", "finish", "new_console", "plain_lines", "show_table"]

#: Fewer columns than this are for a list, and no table.
_NARROW = 72
#: As a shell reports a command that SIGPIPE ended.
_BROKEN_PIPE = 141


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise  # for finish(); rich would exit with 1, which means something


def new_console(*, stderr: bool = False) -> Console:
    """A console that interprets nothing of what it is given."""
    return _Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def show_table(
    console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Rows under headers; one below the other where there is little room.

    Nothing is cut: what is too long for its place goes on below.
    """
    if console.width < _NARROW:
        _show_list(console, headers, rows)
        return
    table = Table()
    for header in headers:
        table.add_column(Text(header), overflow="fold")
    for row in rows:
        table.add_row(*(cell(console, value) for value in row))
    console.print(table)


def _show_list(
    console: Console, headers: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    for name, *values in rows:
        if list(headers[1:]) == [""]:
            _indented(console, f"{name}: {values[0]}", 0)
            continue
        console.print(cell(console, f"{headers[0]} {name}"), style="bold")
        for header, value in zip(headers[1:], values, strict=True):
            if value:
                _indented(console, f"{header}: {value}", 2)


def _indented(console: Console, text: str, by: int) -> None:
    line = cell(console, text)
    console.print(Padding(line, (0, 0, 0, by), expand=False))


def cell(console: Console, text: str) -> Text:
    """The text as it is, in letters that the terminal's encoding has."""
    if not console.encoding.lower().startswith("utf"):
        text = text.replace("µ", "u")
    return Text(printable(text), overflow="fold")


def plain_lines(text: str) -> str:
    """A guest's text for a terminal: lines and tabs; all else is escaped."""
    longest = 10 * len(text)  # of one character: \U0010ffff
    pieces = re.split(r"([\n\t])", text)
    pieces[::2] = [printable(piece, longest) for piece in pieces[::2]]
    return "".join(pieces)


def finish(command: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its status, once its output is written.

    An output that cannot be written is one line on standard error and status
    2; a reader that went away, as ``head`` does, is no error to tell of.
    """
    stdout = sys.stdout
    try:
        status = command()
        if stdout is not None:
            stdout.flush()
    except OSError as error:
        status = _give_up(error)
    if sys.stdout is not stdout:  # click saw the broken pipe and dealt with it
        status = _BROKEN_PIPE
    sys.exit(status)


def _give_up(error: OSError) -> int:
    _discard(sys.stdout)
    if error.errno == errno.EPIPE:
        return _BROKEN_PIPE
    try:
        sys.stderr.write(
            f"hyperlight: cannot write to standard output: {error.strerror}\n"
        )
        sys.stderr.flush()
    except (OSError, AttributeError):  # full as well, or not there
        _discard(sys.stderr)
    return 2


def _discard(stream: Any) -> None:
    """What is still buffered would fail again at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
