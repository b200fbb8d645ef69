"""``hyperlight doctor``: what this host has."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from hyperlight import doctor as host
from hyperlight.cli import terminal
from hyperlight.cli.options import json_flag
from hyperlight.text import printable

__all__ = ["doctor"]


def _kernel_writes(row: dict[str, Any]) -> str:
    """What becomes of them; a driver's trackers only see its guests."""
    if row["driver"]:
        return "-"
    if row["kernel_writes"]:
        return "seen"
    return "ERROR_NOACCESS" if sys.platform == "win32" else "EFAULT"


@click.command()
@json_flag
def doctor(as_json: bool) -> None:
    """Show what this host offers, what it lacks, and what to change."""
    report = host.examine()
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    console = terminal.new_console()
    terminal.show_table(
        console,
        ("tracker", "works here", "system calls' writes", "why not"),
        [
            (
                row["name"],
                "yes" if row["available"] else "no",
                _kernel_writes(row),
                row["reason"],
            )
            for row in report["trackers"]
        ],
    )
    terminal.show_table(
        console,
        ("driver", "works here", "why not"),
        [
            (row["name"], "yes" if row["available"] else "no", row["reason"])
            for row in report["drivers"]
        ],
    )
    terminal.show_table(
        console,
        ("this host", ""),
        [
            (name, "unknown" if value is None else str(value))
            for name, value in report["host"].items()
        ],
    )
    for line in report["advice"] or ["Nothing to change."]:
        mark = "- " if report["advice"] else ""
        console.print(f"{mark}{printable(line)}", soft_wrap=True)
