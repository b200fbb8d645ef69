"""``hyperlight run``: a call of a guest's function."""

from __future__ import annotations

import logging
import sys
import warnings
from dataclasses import replace
from typing import Any

import click

from hyperlight import Sandbox, SandboxConfig
from hyperlight.cli import terminal
from hyperlight.cli.options import CannotRun, Size
from hyperlight.cli.values import values_of
from hyperlight.errors import (
    EmulatorWarning,
    GuestAborted,
    GuestError,
    GuestTimeout,
    HyperlightError,
)
from hyperlight.sandbox.drivers import choose_driver

__all__ = ["run"]


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("guest")
@click.argument("function", required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--driver", default="auto", show_default=True, help="How.")
@click.option(
    "--heap", type=Size(), default="16MiB", show_default=True, help="Memory."
)
@click.option(
    "--buffers",
    type=Size(),
    default="1MiB",
    show_default=True,
    help="Room for arguments, and for a result.",
)
@click.option(
    "--timeout", type=float, default=10, show_default=True, help="Seconds."
)
def run(
    guest: str,
    function: str | None,
    arguments: tuple[str, ...],
    driver: str,
    heap: int,
    buffers: int,
    timeout: float,
) -> None:
    """Call FUNCTION of GUEST, a program or the name of one that ships.

    Without FUNCTION it lists the functions. ARGUMENTS are text, converted to
    the function's types; @FILE stands for a file's bytes. Results go to
    standard output unchanged; on a terminal, control characters in text are
    escaped. Log lines of the guest go to standard error. Ends with status 1 if
    the guest failed.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level="INFO")
    try:
        config = SandboxConfig(
            driver=driver,
            heap_size=heap,
            input_size=buffers,
            output_size=buffers,
            call_timeout=timeout,
        )
        with warnings.catch_warnings(record=True) as unasked:
            warnings.simplefilter("always", EmulatorWarning)
            config = replace(config, driver=choose_driver(driver))
        for warning in unasked:
            click.echo(f"warning: {warning.message}", err=True)
        with Sandbox(guest, config=config) as sandbox:
            if function is None:
                result: Any = "\n".join(sandbox.functions.values())
            else:
                values = values_of(
                    sandbox.functions.get(function, ""), arguments
                )
                result = sandbox.call(function, *values)
    except (GuestAborted, GuestError, GuestTimeout) as error:
        raise click.ClickException(str(error)) from None
    except (HyperlightError, OSError, TypeError, ValueError) as error:
        raise CannotRun(str(error)) from None
    if isinstance(result, str) and _is_terminal(sys.stdout):
        result = terminal.plain_lines(result)
    if result is not None:
        # color: without it click takes some of the text for colors.
        click.echo(result, nl=not isinstance(result, bytes), color=True)


def _is_terminal(stream: Any) -> bool:
    return stream is not None and bool(stream.isatty())
