"""``hyperlight exec``: an unmodified Linux program in a sandbox."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from hyperlight import Completed, Files, Program
from hyperlight.cli import given
from hyperlight.cli.options import CannotRun, Size, json_flag
from hyperlight.errors import GuestTimeout, HyperlightError, LimitExceeded
from hyperlight.linux.libraries import find_libraries, needs_of
from hyperlight.linux.nodes import Folder
from hyperlight.linux.program import ENVIRONMENT
from hyperlight.text import printable

__all__ = ["exec_"]


@click.command(
    "exec",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@given.read_only_option
@click.option(
    "--add",
    "copies",
    multiple=True,
    metavar="FILE:GUEST",
    help="Give it a copy of a file, which it may change.",
)
@click.option(
    "--archive",
    "archives",
    multiple=True,
    metavar="FILE[:GUEST]",
    help="Give it what is in a zip or tar file.",
)
@click.option(
    "--tmp",
    "temporary",
    multiple=True,
    metavar="GUEST[=SIZE]",
    help="Give it a folder for files that it makes.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a variable of its environment.",
)
@click.option("--cwd", default="/", show_default=True, help="Where it begins.")
@click.option(
    "--stdin",
    "passes_input",
    is_flag=True,
    help="Read standard input to its end, and give it that.",
)
@click.option("--timeout", type=float, help="Seconds.  [default: no limit]")
@given.memory_option
@click.option(
    "--output-limit",
    type=Size(),
    default="1GiB",
    show_default=True,
    help="What it may write to standard output and error.",
)
@given.driver_option
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Name the system calls that it was refused.",
)
@json_flag
def exec_(
    program: str,
    arguments: tuple[str, ...],
    read_only: tuple[str, ...],
    copies: tuple[str, ...],
    archives: tuple[str, ...],
    temporary: tuple[str, ...],
    variables: tuple[str, ...],
    cwd: str,
    passes_input: bool,
    timeout: float | None,
    memory: int,
    output_limit: int,
    driver: str,
    verbose: bool,
    as_json: bool,
) -> None:
    """Run PROGRAM, a Linux program of this host, without anything of the host.

    It sees its own file and the libraries that it needs, or what options
    give it; if they give it a file at PROGRAM's path, it is that which runs.
    It has one thread, no other processes and no network.

    Its output comes as it is, byte for byte. Ends with its exit status, with
    128 and the number of the signal that ended it, with 124 after a timeout,
    with 1 if it exceeded another limit.
    """
    output = given.Output()

    def pass_on(stdout: bytes, stderr: bytes) -> None:
        output.write(stdout)
        output.write(stderr, err=True)

    try:
        files = _given(read_only, copies, archives, temporary)
        if not isinstance(files._find(cwd), Folder):
            raise ValueError(f"--cwd: it has no folder {cwd!r}")
        path, missing = _complete(files, program)
        made = Program(
            [path, *arguments],
            env={**ENVIRONMENT, **_environment(variables)},
            files=files,
            cwd=cwd,
            config=given.config_with(
                driver,
                memory=memory,
                output_limit=output_limit,
                call_timeout=math.inf if timeout is None else timeout,
            ),
        )
        stdin = sys.stdin.buffer.read() if passes_input else b""
        ended = made.run(stdin, on_output=None if as_json else pass_on)
    except (GuestTimeout, LimitExceeded) as error:
        if as_json:
            _print(_report(error.stdout, error.stderr, error=str(error)))
        click.echo(f"{printable(program)}: {error}", err=True)
        is_late = isinstance(error, GuestTimeout)
        sys.exit(given.TIMED_OUT if is_late else 1)
    except (HyperlightError, OSError, TypeError, ValueError) as error:
        output.check(error)
        raise CannotRun(str(error)) from None
    if as_json:
        _print(_report(ended.stdout, ended.stderr, ended))
    status = ended.exit_code
    if status is None:
        status = 128 + (ended.signal or 0)
    if verbose or (status and not as_json):
        _explain(printable(program), ended, missing)
    sys.exit(status)


def _given(
    read_only: Iterable[str],
    copies: Iterable[str],
    archives: Iterable[str],
    temporary: Iterable[str],
) -> Files:
    """The files that options give.

    Raises:
        OSError, ValueError: They cannot.
    """
    files = given.show(Files(), read_only)
    for text in archives:
        host, guest = given.pair("--archive", text)
        files.archive(host, guest or "/")
    for text in copies:
        host, guest = given.pair("--add", text)
        if guest is None:
            raise ValueError(f"--add: {text!r} is not of the form FILE:GUEST")
        data, mode = given.copied(host)
        files.add(guest, data, mode=mode)
    for text in temporary:
        path, equals, size = text.partition("=")
        files.temporary(path, size if equals else "16MiB")
    return files


def _environment(variables: Iterable[str]) -> dict[str, str]:
    made = {}
    for text in variables:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--env: {text!r} is not of the form NAME=VALUE")
        made[name] = value
    return made


def _complete(files: Files, program: str) -> tuple[str, list[str]]:
    """Show a program of the host, unless its path is given a file.

    Returns:
        Its path, and names of libraries that were not found.

    Raises:
        OSError: There is no such program.
    """
    if program.startswith("/") and files._find(program) is not None:
        return program, []
    found = program if "/" in program else shutil.which(program)
    if found is None:
        raise FileNotFoundError(f"there is no program {program!r} in PATH")
    os.stat(found)  # an error names the path as it was given
    path = os.path.abspath(found)
    files.host(path)
    loader = needs_of(path).interpreter
    if loader is None:
        return path, []
    _show(files, loader, loader)
    libraries, missing = find_libraries([path])
    # Where its ld.so looks without a cache; libc itself is nowhere else.
    usual = os.path.dirname(libraries.get("libc.so.6", loader))
    for name, library in libraries.items():
        _show(files, library, library)
        _show(files, library, f"{usual}/{name}")
    return path, missing


def _show(files: Files, host: str, guest: str) -> None:
    path = os.path.abspath(guest)
    if files._find(path) is None:
        files.host(host, path)


def _report(
    stdout: bytes,
    stderr: bytes,
    ended: Completed | None = None,
    error: str | None = None,
) -> Mapping[str, Any]:
    return {
        "exit_code": ended.exit_code if ended else None,
        "signal": ended.signal if ended else None,
        "stdout": stdout.decode("utf-8", "backslashreplace"),
        "stderr": stderr.decode("utf-8", "backslashreplace"),
        "refused": ended.refused if ended else {},
        "error": error,
    }


def _print(report: Mapping[str, Any]) -> None:
    click.echo(json.dumps(report, indent=2))


def _explain(program: str, ended: Completed, missing: list[str]) -> None:
    """Why it may have failed: what it asked for and did not get."""
    if ended.detail:
        click.echo(f"{program}: ended by {ended.detail}", err=True)
    if missing:
        click.echo(
            f"{program}: libraries that were not found: {', '.join(missing)}",
            err=True,
        )
    if ended.refused:
        calls = ", ".join(f"{n} ({c})" for n, c in ended.refused.items())
        click.echo(
            f"{program}: system calls that were refused: {calls}", err=True
        )
