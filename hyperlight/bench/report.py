"""One page that says what tracking gains, out of a directory of results.

``python -m hyperlight.bench.report DIRECTORY`` writes ``report.html`` there,
which needs nothing beside it, and each figure as SVG and PNG. The words are in
``report.html.j2``.
"""

from __future__ import annotations

import itertools
import re
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from hyperlight.bench import others, plots, plots_cliffs, plots_programs
from hyperlight.bench.plots import format_ratio, format_time
from hyperlight.bench.results import (
    FLOOR,
    NOTICEABLE,
    TRACKERS,
    Comparison,
    Counted,
    Limit,
    Results,
    ResultsError,
    read,
)
from hyperlight.units import format_size

__all__ = ["main", "write"]

MANY = 30  # comparisons that one figure of bars can show
WORST = 10  # rows of the model that the page lists
SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}


def write(directory: Path) -> Path:
    """Write the page and its figures into a directory of results.

    Returns:
        The page, ``report.html``.

    Raises:
        ResultsError: The results cannot be read; nothing was written.
    """
    directory = Path(directory)
    results = read(directory)
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "amount": format_amount,
        "median": statistics.median,
        "percent": format_percent,
        "plural": plural,
        "ratio": format_ratio,
        "size": format_size,
        "time": format_time,
        "us": lambda value: format_time(value * 1e-6),
    }
    template = templates.get_template("report.html.j2")
    page = directory / "report.html"
    text = template.render(describe(results, directory))
    page.write_text(text, encoding="utf-8")
    return page


@dataclass(frozen=True)
class Part:
    """Comparisons that are shown together: bars and a table."""

    name: str
    comparisons: Sequence[Comparison]
    bars: Markup

    @property
    def speedups(self) -> list[float]:
        """Ascending."""
        return sorted(c.speedup for c in self.comparisons)


@dataclass(frozen=True)
class Section:
    """A group of benchmarks."""

    name: str
    comparisons: Sequence[Comparison]
    parts: Sequence[Part]

    def count(self, verdict: str) -> int:
        """How many of its comparisons ended like this."""
        return count(self.comparisons, verdict)

    @property
    def speedups(self) -> list[float]:
        """Ascending."""
        return sorted(c.speedup for c in self.comparisons)


def draw(directory: Path, name: str, figure: Figure) -> Markup:
    """Save a figure; the same for the page, which trusts our own SVG."""
    return Markup(plots.save(figure, directory, name))


def describe(results: Results, directory: Path) -> dict[str, Any]:
    """All that the template shows; draws the figures."""
    comparisons = results.comparisons()
    phases, model = results.phases, results.model
    programs = results.programs
    limits = (
        *results.limits,
        *results.cliffs,
        *(programs.limits if programs else ()),
    )
    by_size, by_dirty = results.cost_by_size(), results.cost_by_dirty()
    cells = any(c.cell for c in comparisons)
    save = partial(draw, directory)
    return {
        "headline": headline(comparisons, limits),
        "counts": {
            verdict: count(comparisons, verdict)
            for verdict in ("faster", "equal", "slower")
        },
        "asked": [limit for limit in limits if limit.kept is not None],
        "missed": [limit for limit in limits if limit.kept is False],
        "slower": [c for c in comparisons if c.verdict == "slower"],
        "noticeable": NOTICEABLE,
        "noisy": [
            c.noise
            for c in comparisons
            if c.verdict == "equal" and c.noise > NOTICEABLE
        ],
        "one_sided": results.one_sided(),
        "comparisons": comparisons,
        "overview": comparisons
        and save("overview", plots.overview(comparisons)),
        "sections": sections(comparisons, directory),
        "grid": save("grid", plots.grid(comparisons)) if cells else None,
        "by_size": by_size and save("cost-by-size", plots.cost(by_size)),
        "by_dirty": by_dirty and save("cost-by-dirty", plots.cost(by_dirty)),
        "beside": [
            (side, kind(side), ratios)
            for side, ratios in results.beside_after().items()
        ],
        "quoted": others.QUOTED,
        "quoted_from": others.QUOTED_FROM,
        "limits": grouped(results.limits),
        "cliffs": [
            (group, rows, cliff(group, rows, directory))
            for group, rows in grouped(results.cliffs)
        ],
        "programs": programs,
        "programs_plot": programs
        and programs.runs
        and save("programs", plots_programs.programs(programs)),
        "memory": results.memory,
        "elsewhere": by_columns(results.elsewhere),
        "phases": phases,
        "phases_plot": phases and save("phases", plots.phases(phases)),
        "model": model,
        "model_plot": model
        and model.rows
        and save("model", plots.model(model)),
        "worst": model
        and sorted(model.rows, key=lambda row: -max(row.ratio, 1 / row.ratio))[
            :WORST
        ],
        "machine": results.machine,
        "sides": [shlex.quote(f"{side}.json") for side in results.sides],
    }


def by_columns(
    rows: Sequence[Counted],
) -> list[tuple[list[str], list[Counted]]]:
    """Rows that have the same values make a table."""
    found: dict[tuple[str, ...], list[Counted]] = {}
    for row in rows:
        found.setdefault(tuple(row.values), []).append(row)
    return [(list(columns), members) for columns, members in found.items()]


def grouped(limits: Sequence[Limit]) -> list[tuple[str, list[Limit]]]:
    """By group, in the order in which they were measured."""
    found: dict[str, list[Limit]] = {}
    for limit in limits:
        found.setdefault(limit.group, []).append(limit)
    return list(found.items())


def cliff(group: str, rows: Sequence[Limit], directory: Path) -> Markup | None:
    """What its rows took over their iterations, if any says so."""
    if not any(row.series for row in rows):
        return None
    name = file_name("cliff", group)
    return draw(directory, name, plots_cliffs.cliff(rows))


def headline(
    comparisons: Sequence[Comparison], limits: Sequence[Limit]
) -> str:
    """The result in one sentence."""
    asked = [limit for limit in limits if limit.kept is not None]
    kept = sum(limit.kept is True for limit in asked)
    of_limits = f"{kept} of {plural(len(asked), 'limit')} kept" * bool(asked)
    if not comparisons:
        return of_limits or "Parts of a report"
    slower = count(comparisons, "slower")
    total = plural(len(comparisons), "comparison")
    if slower:
        text = f"Tracking is slower in {slower} of {total}"
    else:
        text = f"Tracking is never measurably slower in {total}"
    if count(comparisons, "faster"):
        best = max(c.speedup for c in comparisons)
        text += f", and up to {format_ratio(best)} faster"
    else:
        text += ", and faster in none"
    return f"{text}; {of_limits}" if of_limits else text


def sections(
    comparisons: Sequence[Comparison], directory: Path
) -> list[Section]:
    """The groups, each in parts that one figure can show."""
    found = []
    for group, members in itertools.groupby(comparisons, lambda c: c.group):
        of_group = list(members)
        parts = {"": of_group}
        if len(of_group) > MANY and all(c.cell for c in of_group):
            parts = {}
            for c in of_group:
                size = format_size(c.cell.size) if c.cell else ""
                parts.setdefault(size, []).append(c)
        found.append(
            Section(
                group,
                of_group,
                [
                    Part(
                        name,
                        part,
                        draw(
                            directory,
                            file_name("bars", group, name),
                            plots.bars(part),
                        ),
                    )
                    for name, part in parts.items()
                ],
            )
        )
    return found


def count(comparisons: Sequence[Comparison], verdict: str) -> int:
    """How many ended like this."""
    return sum(c.verdict == verdict for c in comparisons)


def kind(side: str) -> str:
    """What a side other than before and after is."""
    if side == FLOOR:
        return "the floor"
    return "tracker" if side in TRACKERS else "alternative"


def plural(number: int, noun: str) -> str:
    """Such as 1 limit, 2 limits."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_amount(value: float | None, unit: str) -> str:
    """A limit's value, in the unit that suits."""
    if value is None:
        return "\N{EN DASH}"
    if unit in SECONDS:
        return format_time(value * SECONDS[unit])
    if unit == "bytes":
        return format_size(round(value))
    return f"{value:,.4g} {unit}"


def format_percent(share: float) -> str:
    """In whole percent."""
    text = f"{share * 100:.0f}" if share >= 0.01 else "< 1"
    return f"{text}\N{NO-BREAK SPACE}%"


def file_name(*parts: str) -> str:
    """A name without what a file system or a shell may trip over."""
    return re.sub(r"[^\w.]+", "-", "-".join(filter(None, parts)))


@click.command()
@click.argument(
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
def main(directory: Path) -> None:
    """Write report.html and its figures into DIRECTORY of results."""
    try:
        click.echo(write(directory))
    except ResultsError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
