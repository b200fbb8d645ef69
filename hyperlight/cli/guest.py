"""``hyperlight guest``: programs that run in a sandbox."""

from __future__ import annotations

import click

from hyperlight import guest as guests
from hyperlight.cli.options import CannotRun
from hyperlight.errors import HyperlightError

__all__ = ["guest"]


@click.group()
def guest() -> None:
    """Make programs that run in a sandbox."""


@guest.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output", required=True, help="The program to write.")
@click.option(
    "-l",
    "--library",
    "libraries",
    multiple=True,
    help="A static library: a path, or a name as the linker has it.",
)
@click.option(
    "-f",
    "--flag",
    "flags",
    multiple=True,
    help="One more argument for the compiler, such as -f -DNDEBUG.",
)
@click.option("--cc", help="The compiler.  [default: $CC or cc]")
def build(
    sources: tuple[str, ...],
    output: str,
    libraries: tuple[str, ...],
    flags: tuple[str, ...],
    cc: str | None,
) -> None:
    """Compile C against the SDK and link it into a guest.

    If that fails, shows the compiler's messages and ends with status 2.
    """
    try:
        path = guests.build(
            sources, output, cc=cc, libraries=libraries, flags=flags
        )
    except (HyperlightError, OSError) as error:
        raise CannotRun(str(error)) from None
    click.echo(str(path))
