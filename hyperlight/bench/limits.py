"""The limits that the project sets itself, both sides of each in one run.

Usage: limits.py [--json FILE] [--rigorous] [--part host,guest,others,cliffs]

Prints a Markdown table as it goes: medians, their ratio, the limit, and
whether it is kept. A limit is a ratio, never a time; the sides take turns in
one process. The exit status is 3 if one is missed.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from hyperlight import drivers
from hyperlight.bench import cliffs, limits_guest, limits_host
from hyperlight.bench.results import Limit
from hyperlight.bench.rows import Effort
from hyperlight.units import parse_size

__all__ = ["EFFORTS", "main", "measure"]

PARTS = ("host", "guest", "others", "cliffs")
SIZES = "64KiB,1MiB,64MiB,1GiB"
EFFORTS = {
    "fast": Effort(0.15, 1),
    "usual": Effort(0.4, 3),
    "rigorous": Effort(0.8, 5),
}


def measure(
    parts: tuple[str, ...],
    effort: Effort,
    sizes: str = SIZES,
    tracker: str = "auto",
    driver: str = "auto",
) -> Iterator[Limit]:
    """The rows of these parts, as they are measured."""
    found = list(map(parse_size, sizes.split(",")))
    if "host" in parts:
        yield from limits_host.restores(tracker, found, effort)
        if 1 << 30 in found:
            yield from limits_host.snapshot_memory()
        yield from limits_host.python_share(effort)
    runs_guests = any(info.available for info in drivers())
    if "guest" in parts and runs_guests:
        yield from limits_guest.rows(driver, effort)
    if "others" in parts:
        yield from limits_host.beside_others(effort)
        if runs_guests:
            yield from limits_guest.beside_wasmtime(driver, effort)
    if "cliffs" in parts:
        scale = cliffs.SMALL if effort is EFFORTS["fast"] else cliffs.USUAL
        yield from cliffs.measure(scale, driver, effort)


def as_markdown(row: Limit) -> str:
    """A line of the table."""
    kept = {True: "yes", False: "NO", None: ""}[row.kept]
    against = "" if row.against is None else f"{row.against:,.1f}"
    return (
        f"| {row.what} | {row.value:,.1f} | {against} | {row.ratio:,.2f} | "
        f"{row.limit} | {kept} |"
    )


@click.command(help=__doc__.partition("\n")[0] if __doc__ else "")
@click.option("--json", "path", help="Write the rows there, too.")
@click.option("--part", "parts", default=",".join(PARTS), show_default=True)
@click.option("--sizes", default=SIZES, show_default=True)
@click.option("--tracker", default="auto", show_default=True)
@click.option("--driver", default="auto", show_default=True)
@click.option("--fast", "effort", flag_value="fast", help="Rough answers.")
@click.option("--rigorous", "effort", flag_value="rigorous", help="Longer.")
def main(
    path: str | None,
    parts: str,
    sizes: str,
    tracker: str,
    driver: str,
    effort: str | None,
) -> None:
    """Print the rows; end with 3 if one is missed."""
    print("| what | µs (bytes) | against | ratio | limit | kept |")
    print("| --- | ---: | ---: | ---: | --- | --- |", flush=True)
    rows = []
    for row in measure(
        tuple(parts.split(",")),
        EFFORTS[effort or "usual"],
        sizes,
        tracker,
        driver,
    ):
        rows.append(row)
        print(as_markdown(row), flush=True)
    if path is not None:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
        Path(path).write_text(text + "\n", encoding="utf-8")
    sys.exit(3 if any(row.kept is False for row in rows) else 0)


if __name__ == "__main__":
    main()
