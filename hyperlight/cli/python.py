"""``hyperlight python``: untrusted Python at once."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from hyperlight import (
    Files,
    PythonResult,
    PythonSandbox,
)
from hyperlight.cli import given, terminal
from hyperlight.cli.inside import LARGEST, read_inside
from hyperlight.cli.options import CannotRun, json_flag
from hyperlight.errors import GuestTimeout, HyperlightError
from hyperlight.text import printable

__all__ = ["python"]

#: Bytes that a script may write to standard output and error together.
_OUTPUT = 16 << 20
#: Ints of more bits are no numbers for readers of JSON, nor for Python's own.
_LONGEST_INT = 10_000


@click.command()
@click.argument("file", required=False)
@click.option("-c", "code", help="The script itself.")
@click.option(
    "--python",
    "interpreter",
    metavar="PATH",
    help="The interpreter.  [default: the one that runs this command]",
)
@given.preload_option
@click.option(
    "--path",
    "paths",
    multiple=True,
    metavar="FOLDER",
    help="Let it import from a folder; may be repeated.",
)
@given.read_only_option
@click.option(
    "--out",
    "outs",
    multiple=True,
    metavar="GUEST:HOST",
    help="Copy a file that it made; may be repeated.",
)
@click.option(
    "--timeout",
    type=float,
    default=10,
    show_default=True,
    help="Seconds; inf for no limit.",
)
@given.memory_option
@given.driver_option
@json_flag
def python(
    file: str | None,
    code: str | None,
    interpreter: str | None,
    preload: tuple[str, ...],
    paths: tuple[str, ...],
    read_only: tuple[str, ...],
    outs: tuple[str, ...],
    timeout: float,
    memory: int,
    driver: str,
    as_json: bool,
) -> None:
    """Run Python that nobody trusts: FILE, - for standard input, or -c.

    It sees the standard library, what --preload and --path name, and what
    --ro shows; what it writes is gone afterwards, unless --out copies it. It
    has no network. Output comes as it is written, and then the repr of the
    last line's value, as in a notebook; on a terminal, control characters are
    escaped.

    Ends with 1 if the script failed, with its own status if it called
    sys.exit(), with 124 after a timeout.
    """
    source = _source(file, code)
    destinations = [_destination(text) for text in outs]
    text = _Text()
    failures: list[str] = []
    try:
        config = given.config_with(driver, output_limit=_OUTPUT)
        files = given.show(Files().temporary(), read_only)
        with _warming_up():
            sandbox = PythonSandbox(
                _found(interpreter),
                preload=given.separated(preload),
                paths=paths,
                files=files,
                memory=memory,
                config=config,
                on_stdout=None if as_json else text.say,
                on_stderr=None if as_json else text.complain,
            )
        kept = sandbox.session() if outs else contextlib.nullcontext()
        with sandbox, kept:
            try:
                result = sandbox.run(source, timeout=timeout)
            except HyperlightError as error:
                _give_up(error, as_json)
            for paths_of in destinations:
                _copy_out(sandbox, paths_of, timeout, failures)
    except (HyperlightError, OSError, TypeError, ValueError) as error:
        text.check(error)
        raise CannotRun(str(error)) from None
    if as_json:
        _print_result(result)
    status = _status(result, text, as_json)
    for failure in failures:
        click.echo(failure, err=True)
    sys.exit(status or bool(failures))


def _source(file: str | None, code: str | None) -> str:
    if (file is None) == (code is None):
        raise click.UsageError("Give a FILE, or - for standard input, or -c.")
    if code is not None:
        return code
    try:
        if file == "-":
            return sys.stdin.read()
        with tokenize.open(str(file)) as opened:
            return opened.read()
    except (OSError, SyntaxError, UnicodeError) as error:
        raise CannotRun(str(error)) from None


def _destination(text: str) -> tuple[str, Path]:
    guest, _, host = text.partition(":")
    if not guest.startswith("/") or not host:
        raise click.UsageError(
            f"--out: {text!r} is not of the form GUEST:HOST"
        )
    path = Path(host)
    if not path.parent.is_dir():
        raise CannotRun(f"--out: there is no folder {str(path.parent)!r}")
    return guest, path


def _found(interpreter: str | None) -> str | None:
    """The path of an interpreter that may be named as in a shell."""
    if interpreter is None or "/" in interpreter:
        return interpreter
    return shutil.which(interpreter) or interpreter


@contextlib.contextmanager
def _warming_up() -> Iterator[None]:
    """Something moves on a terminal meanwhile."""
    console = terminal.new_console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status("Python warms up ..."):
        yield


class _Text(given.Output):
    """Text that a guest wrote; a terminal is not controlled by it."""

    def say(self, text: str) -> None:
        """To standard output."""
        self._put(text, sys.stdout, err=False)

    def complain(self, text: str) -> None:
        """To standard error."""
        self._put(text, sys.stderr, err=True)

    def _put(self, text: str, stream: TextIO | None, *, err: bool) -> None:
        if stream is not None and stream.isatty():
            text = terminal.plain_lines(text)
        # As bytes: it may hold what the encoding has not.
        encoding = getattr(stream, "encoding", None) or "utf-8"
        self.write(text.encode(encoding, "backslashreplace"), err=err)


def _copy_out(
    sandbox: PythonSandbox,
    paths: tuple[str, Path],
    timeout: float,
    failures: list[str],
) -> None:
    """Copy a file out, or say why that cannot be."""
    guest, host = paths
    try:
        data = read_inside(sandbox, guest, LARGEST, timeout)
    except (HyperlightError, ValueError) as error:
        failures.append(f"--out {guest}: {printable(str(error))}")
    else:
        host.write_bytes(data)


def _give_up(error: HyperlightError, as_json: bool) -> NoReturn:
    """The script did not come to its end: say so, and exit."""
    if as_json:
        stdout, stderr = (
            getattr(error, name, b"").decode("utf-8", "backslashreplace")
            for name in ("stdout", "stderr")
        )
        told = _error(type(error).__name__, str(error), "")
        _print_json(None, None, stdout, stderr, told, None)
    else:
        click.echo(str(error), err=True)
    sys.exit(given.TIMED_OUT if isinstance(error, GuestTimeout) else 1)


def _print_result(result: PythonResult) -> None:
    """What came of a script, as JSON."""
    error = result.error
    _print_json(
        result.value if _is_json(result.value) else None,
        result.repr,
        result.stdout,
        result.stderr,
        None
        if error is None
        else _error(error.type, error.message, error.traceback),
        {
            "seconds": result.stats.seconds,
            "host_calls": result.stats.host_calls,
        },
    )


def _error(kind: str, message: str, traceback: str) -> dict[str, str]:
    return {"type": kind, "message": message, "traceback": traceback}


def _print_json(
    value: Any,
    shown: str | None,
    stdout: str,
    stderr: str,
    error: dict[str, str] | None,
    stats: dict[str, Any] | None,
) -> None:
    report = {
        "value": value,
        "repr": shown,
        "stdout": stdout,
        "stderr": stderr,
        "error": error,
        "stats": stats,
    }
    click.echo(json.dumps(report, indent=2))


def _status(result: PythonResult, text: _Text, as_json: bool) -> int:
    """As an interpreter ends: silently or with the traceback; its status."""
    error = result.error
    if error is None:
        if not as_json and result.repr not in (None, "None"):
            text.say(f"{result.repr}\n")
        return 0
    told = error.traceback
    if error.type == "SystemExit":
        told = f"{error.message}\n"
        if error.message in ("", "None"):
            return 0
        if re.fullmatch(r"-?[0-9]{1,18}", error.message):
            return int(error.message) & 0xFF
    if not as_json:
        text.complain(told)
    return 1


def _is_json(value: Any) -> bool:
    """Whether JSON has it: no bytes, no NaN, keys that are text."""
    if value is None or isinstance(value, (bool, str)):
        return True
    if isinstance(value, int):
        return value.bit_length() <= _LONGEST_INT
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    return isinstance(value, dict) and all(
        isinstance(key, str) and _is_json(item) for key, item in value.items()
    )
