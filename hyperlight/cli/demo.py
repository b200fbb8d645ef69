"""``hyperlight demo``: a ledger is put back in both ways."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hyperlight.cli import ledger, terminal
from hyperlight.cli.options import CannotRun, Size, json_flag
from hyperlight.errors import HyperlightError
from hyperlight.units import format_size

__all__ = ["demo"]


@click.command()
@click.option(
    "--size", type=Size(), default="1GiB", show_default=True, help="Memory."
)
@click.option(
    "--tracker", default="auto", show_default=True, help="How to track."
)
@json_flag
def demo(size: int, tracker: str, as_json: bool) -> None:
    """Fill memory, let a program write to it, and put it back both ways.

    Ends with status 1 if the bytes were not restored, and with 2 if the demo
    could not run.
    """
    bars = terminal.new_console(stderr=True)
    try:
        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=bars,
            transient=True,
            disable=as_json or not bars.is_terminal,
        ) as progress:
            report = ledger.run(size, tracker, _stepper(progress))
    except (HyperlightError, MemoryError, OSError, ValueError) as error:
        raise CannotRun(str(error)) from None
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_demo(terminal.new_console(), report)
    sys.exit(0 if report["identical"] else 1)


def _stepper(progress: Progress) -> ledger.Step:
    """A callback that shows one bar for each named step."""
    tasks: dict[str, Any] = {}

    def step(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=total)
        progress.update(tasks[name], completed=done)

    return step


def _print_demo(console: Console, report: dict[str, Any]) -> None:
    terminal.show_table(
        console,
        ("put back by", "pages", "bytes", "time", "ratio"),
        [
            (
                row["by"],
                f"{row['pages']:,}",
                format_size(row["bytes"]),
                f"{row['microseconds']:,.0f} µs",
                f"{ledger.in_words(row['ratio'])} x",
            )
            for row in report["restores"]
        ],
    )
    console.print(terminal.cell(console, report["sentence"]), soft_wrap=True)
