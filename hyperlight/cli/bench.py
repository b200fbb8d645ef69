"""``hyperlight bench``: what tracking costs and gains, measured here."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hyperlight.cli import terminal
from hyperlight.cli.options import CannotRun
from hyperlight.errors import HyperlightError

__all__ = ["bench"]


@click.command()
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@click.option(
    "-o",
    "--output",
    default="hyperlight-bench",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Where results and report go.",
)
@click.option("--fast", "effort", flag_value="fast", help="Rough answers.")
@click.option(
    "--rigorous", "effort", flag_value="rigorous", help="Better ones."
)
@click.option("--smoke", "effort", flag_value="smoke", hidden=True)
@click.option(
    "--all", "everything", is_flag=True, help="Every size, count and pattern."
)
@click.option(
    "--driver",
    "drivers",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="Of sandboxes; may be repeated; all: each that is available.",
)
@click.option("--list", "lists", is_flag=True, help="Only list benchmarks.")
@click.option(
    "--report", "again", is_flag=True, help="Only rewrite the report."
)
def bench(
    patterns: tuple[str, ...],
    output: str,
    effort: str | None,
    everything: bool,
    drivers: tuple[str, ...],
    lists: bool,
    again: bool,
) -> None:
    """Measure the cost and gain of tracking, and write a report.

    PATTERN is a benchmark, a group of them, or either with wildcards; limits,
    cliffs, programs, memory, phases and model are parts of the report. Without
    one, all is measured.
    The results are files of pyperf, which can compare them. Ends with status 1
    if something could not be measured.
    """
    # Here, since it needs what the rest of the command line does not.
    from hyperlight.bench import session

    directory = pathlib.Path(output)
    try:
        tasks = session.plan(
            directory,
            patterns,
            effort=effort or "usual",
            coarse=not everything,
            driver=drivers,
        )
        lines = [task.name for task in tasks]
        failures: list[Any] = []
        if not lists:
            failures = [] if again else _measure(session, directory, tasks)
            for failed in failures:
                click.echo(
                    f"not measured: {failed.task}: {failed.reason}", err=True
                )
            lines = [str(session.write_report(directory))]
    except (HyperlightError, MemoryError, OSError, ValueError) as error:
        raise CannotRun(str(error)) from None
    # Not above: what fails here is not the measuring.
    for line in lines:
        click.echo(line)
    sys.exit(1 if failures else 0)


def _measure(session: Any, directory: pathlib.Path, tasks: list[Any]) -> Any:
    """Run them under one bar that says what is being measured."""
    bars = terminal.new_console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=bars,
        disable=not bars.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=len(tasks))

        def step(name: str, done: int, total: int) -> None:
            progress.update(bar, description=name, completed=done, total=total)

        return session.run(directory, tasks, step)
