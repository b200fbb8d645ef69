"""Options of commands that run programs: files, and how they are run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from hyperlight import Files, SandboxConfig
from hyperlight.cli.options import Size
from hyperlight.errors import EmulatorWarning
from hyperlight.sandbox.drivers import choose_driver

__all__ = [
    "Output",
    "TIMED_OUT",
    "config_with",
    "copied",
    "driver_option",
    "memory_option",
    "pair",
    "preload_option",
    "read_only_option",
    "separated",
    "show",
]

#: Status of a command whose program took too long, as that of ``timeout``.
TIMED_OUT = 124

_Option = Callable[[Any], Any]

driver_option: _Option = click.option(
    "--driver", default="auto", show_default=True, help="How."
)
memory_option: _Option = click.option(
    "--memory",
    type=Size(),
    default="256MiB",
    show_default=True,
    help="For all that it allocates and maps.",
)
read_only_option: _Option = click.option(
    "--ro",
    "read_only",
    multiple=True,
    metavar="HOST[:GUEST]",
    help="Show it a file or folder, which it cannot change.",
)
preload_option: _Option = click.option(
    "--preload",
    multiple=True,
    metavar="NAME[,NAME...]",
    help="Import a module or distribution beforehand; may be repeated.",
)


class Output:
    """Passes output on; its failure is told from those of programs."""

    def __init__(self) -> None:
        self._failure: OSError | None = None

    def write(self, data: bytes, *, err: bool = False) -> None:
        """Write it at once, as it is."""
        try:
            # color: without it click takes some of the bytes for colors.
            click.echo(data, nl=False, err=err, color=True)
        except OSError as error:
            self._failure = error
            raise

    def check(self, error: Exception) -> None:
        """Raise an error again if it is of the output."""
        if error is self._failure:
            raise error


def pair(option: str, text: str) -> tuple[str, str | None]:
    """``HOST[:GUEST]`` in two; the guest's path is absolute.

    Raises:
        ValueError: One of them is empty.
    """
    host, colon, guest = text.rpartition(":/")
    if not colon:
        host, guest = text, ""
    if not host:
        raise ValueError(f"{option}: {text!r} is not of the form HOST:GUEST")
    return host, f"/{guest}" if colon else None


def show(files: Files, read_only: Iterable[str]) -> Files:
    """Give what ``--ro`` named."""
    for text in read_only:
        host, guest = pair("--ro", text)
        os.stat(host)  # an error names the path as it was given
        files.host(host, guest)
    return files


def separated(names: Iterable[str]) -> list[str]:
    """Names of options that take lists, too."""
    return [
        name.strip()
        for text in names
        for name in text.split(",")
        if name.strip()
    ]


def config_with(driver: str, **settings: Any) -> SandboxConfig:
    """A configuration whose driver is chosen.

    A warning about the choice is a line on standard error.

    Raises:
        ValueError: A setting is not valid.
        DriverUnavailable: The driver cannot run here.
    """
    config = SandboxConfig(driver=driver, **settings)
    with warnings.catch_warnings(record=True) as unasked:
        warnings.simplefilter("always", EmulatorWarning)
        chosen = choose_driver(driver)
    for warning in unasked:
        click.echo(f"warning: {warning.message}", err=True)
    return replace(config, driver=chosen)


def copied(path: str) -> tuple[bytes, int]:
    """A file's bytes, and its permission bits."""
    file = Path(path)
    return file.read_bytes(), file.stat().st_mode & 0o777
