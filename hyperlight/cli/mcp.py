"""``hyperlight mcp``: untrusted Python for agents, by the protocol MCP."""

from __future__ import annotations

import base64 as base64_module
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import click

from hyperlight import Files, PythonSandbox
from hyperlight.cli import given
from hyperlight.cli.inside import (
    Sessions,
    list_inside,
    read_inside,
    write_inside,
)
from hyperlight.cli.options import CannotRun
from hyperlight.errors import HyperlightError
from hyperlight.sandbox.config import check_timeout
from hyperlight.text import printable
from hyperlight.version import __version__

__all__ = ["mcp"]

#: Characters of one text that a model is shown.
_LONGEST = 100_000
#: Bytes of a file that a model is shown.
_LARGEST = 1 << 20

_INSTRUCTIONS = """\
Runs Python in a sandbox that is put back after every run. Without a session
nothing is left of a run; a session keeps variables, imports and files. There
is no network, no other process, one thread; files may be written anywhere,
/tmp is usual. The value of the last line is returned as in a notebook."""


@click.command()
@given.preload_option
@given.read_only_option
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    help="Seconds that a run may take at most.",
)
@given.memory_option
@click.option(
    "--sessions",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="How many there may be at once.",
)
@given.driver_option
def mcp(
    preload: tuple[str, ...],
    read_only: tuple[str, ...],
    timeout: float,
    memory: int,
    sessions: int,
    driver: str,
) -> None:
    """Serve untrusted Python to an agent, on standard input and output.

    The tools: run_python, new_session, end_session, list_sessions, put_file,
    get_file, list_files. Needs pip install 'pyhyperlight[mcp]'.
    """
    # Where that is missing, the command says so, and all others work.
    from mcp.server.mcpserver import MCPServer

    server = MCPServer(
        "hyperlight",
        instructions=_INSTRUCTIONS,
        version=__version__,
        log_level="WARNING",
    )
    try:
        check_timeout("timeout", timeout)
        config = given.config_with(driver)
        sandbox = PythonSandbox(
            preload=given.separated(preload),
            files=given.show(Files().temporary(), read_only),
            memory=memory,
            config=config,
        )
    except (HyperlightError, OSError, TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None
    with sandbox:
        tools = _Tools(Sessions(sandbox, sessions), timeout)
        for tool in (
            tools.run_python,
            tools.new_session,
            tools.end_session,
            tools.list_sessions,
            tools.put_file,
            tools.get_file,
            tools.list_files,
        ):
            server.add_tool(tool)
        server.run("stdio")


@dataclass
class Ran:
    """What came of a run."""

    #: The repr of the last line's value; None: it has none.
    value: str | None
    stdout: str
    stderr: str
    #: What ended it early: a traceback, or a limit.
    error: str | None


@dataclass
class Got:
    """A file's content, as text or else as base64."""

    text: str | None
    base64: str | None


@dataclass
class Entry:
    """One name in a folder; that of a folder ends with a slash."""

    name: str
    size: int


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors that a model may make are told to it; others are not."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        yield
    except (HyperlightError, ValueError, TypeError) as error:
        raise ToolError(printable(str(error))) from None


class _Tools:
    """The tools; their docstrings are what a model reads."""

    def __init__(self, sessions: Sessions, timeout: float) -> None:
        self._sessions = sessions
        self._timeout = timeout

    def run_python(
        self,
        code: str,
        session: str | None = None,
        timeout: float | None = None,
    ) -> Ran:
        """Run Python code in a sandbox.

        Args:
            code: The script. What it prints and the value of its last line
                are returned.
            session: A name from new_session; without it, the code runs in a
                clean state, of which nothing is kept.
            timeout: Seconds; at most what the server allows.
        """
        with _told():
            asked = check_timeout("timeout", timeout)
            seconds = min(asked or self._timeout, self._timeout)
            with self._sessions.turn(session) as sandbox:
                try:
                    result = sandbox.run(code, timeout=seconds)
                except HyperlightError as error:
                    # What it did is undone, and not kept.
                    return Ran(None, *_output(error), printable(str(error)))
        return Ran(
            None if result.repr is None else _cut(result.repr),
            _cut(result.stdout),
            _cut(result.stderr),
            None if result.error is None else _cut(result.error.traceback),
        )

    def new_session(self) -> str:
        """Begin a session, which keeps variables, imports and files.

        Returns its name, for the other tools.
        """
        with _told():
            return self._sessions.begin()

    def end_session(self, session: str) -> None:
        """End a session; nothing of it is left."""
        with _told():
            self._sessions.end(session)

    def list_sessions(self) -> list[str]:
        """Names of the sessions that there are."""
        return self._sessions.names()

    def put_file(
        self,
        session: str,
        path: str,
        text: str | None = None,
        base64: str | None = None,
    ) -> None:
        """Write a file in a session, and make its folder.

        Args:
            session: A name from new_session.
            path: An absolute path, such as /tmp/table.csv.
            text: Its content; or else
            base64: its bytes.
        """
        with _told():
            if (text is None) == (base64 is None):
                raise ValueError("give either text or base64")
            data = (
                text.encode("utf-8", "surrogatepass")
                if text is not None
                else base64_module.b64decode(base64 or "", validate=True)
            )
            with self._sessions.turn(session) as sandbox:
                write_inside(sandbox, path, data, self._timeout)

    def get_file(self, session: str, path: str) -> Got:
        """Read a file of a session, as text, or as base64 if it is none."""
        with _told(), self._sessions.turn(session, keep=False) as sandbox:
            data = read_inside(sandbox, path, _LARGEST, self._timeout)
        try:
            return Got(data.decode(), None)
        except UnicodeDecodeError:
            return Got(None, base64_module.b64encode(data).decode())

    def list_files(self, session: str, path: str = "/tmp") -> list[Entry]:  # noqa: S108
        """Names and sizes in a folder of a session."""
        with _told(), self._sessions.turn(session, keep=False) as sandbox:
            found = list_inside(sandbox, path, self._timeout)
        return [Entry(*one) for one in found]


def _output(error: HyperlightError) -> tuple[str, str]:
    """What was written until then."""
    outs, errs = (
        getattr(error, name, b"").decode("utf-8", "backslashreplace")
        for name in ("stdout", "stderr")
    )
    return _cut(outs), _cut(errs)


def _cut(text: str) -> str:
    if len(text) > _LONGEST:
        left = len(text) - _LONGEST
        text = f"{text[:_LONGEST]}\n... ({left} more characters)"
    # A lone surrogate could not be sent.
    return text.encode("utf-8", "backslashreplace").decode()
