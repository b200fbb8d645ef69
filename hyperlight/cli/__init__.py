"""The command line: arguments in, tables or JSON out; a file a command."""

from __future__ import annotations

from typing import NoReturn

import click

from hyperlight.cli import (
    bench,
    demo,
    doctor,
    guest,
    mcp,
    python,
    run,
    terminal,
)
from hyperlight.cli.exec import exec_
from hyperlight.version import __version__

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="pyhyperlight")
def cli() -> None:
    """Put memory back the way it was."""


for _command in (
    *(doctor.doctor, demo.demo, run.run, bench.bench, guest.guest),
    *(exec_, python.python, mcp.mcp),
):
    cli.add_command(_command)


def main() -> NoReturn:
    """The command: run what its arguments say, and exit."""
    terminal.finish(_status)


def _status() -> int:
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Interrupted.", err=True)
        return 130
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0
