"""The figures of cliffs: what each row took over its iterations."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperlight.bench.formats import format_time
from hyperlight.bench.plots import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    STYLE,
    figure_of,
    log_axis,
)
from hyperlight.bench.results import Limit
from hyperlight.bench.rows import FIRST

__all__ = ["cliff"]

LETTERS = 52  # a title's, in a figure as narrow as a phone
DASHES = ("-", "--", "-.", ":")


def cliff(rows: Sequence[Limit]) -> Figure:
    """A row below the other.

    The first iterations stand for themselves, those after the dotted line are
    medians of equal stretches.
    """
    shown = [row for row in rows if row.series]
    with mpl.rc_context(STYLE):
        figure = figure_of(0.4 + 2.1 * len(shown))
        for axes, row in zip(
            figure.subplots(len(shown), squeeze=False)[:, 0],
            shown,
            strict=True,
        ):
            axes.set_yscale("log")
            log_axis(axes.yaxis, lambda value: format_time(value * 1e-6))
            axes.set_title(textwrap.fill(row.what, LETTERS), size=9)
            for number, line in enumerate(row.series):
                axes.plot(
                    line.values,
                    label=line.name,
                    lw=1.2,
                    marker="." if len(line.values) < 20 else None,
                    **_style(number, len(row.series)),
                )
            _fit(axes, row)
            axes.legend(fontsize=8, ncols=2, loc="upper right", borderpad=0.2)
        if shown:
            axes.set_xlabel("iteration")
    return figure


def _fit(axes: Axes, row: Limit) -> None:
    """Room for noise to look like noise, and a line where medians begin."""
    values = [value for line in row.series for value in line.values]
    low, high = axes.get_ylim() if not values else (min(values), max(values))
    axes.set_ylim(low / 2, high * 2.5)  # the legend is above
    axes.margins(x=0.01)
    axes.set_xticks([])
    if any(len(line.values) > FIRST for line in row.series):
        axes.axvline(FIRST, color=INK, lw=0.8, ls=":")
        axes.set_xticks([0, FIRST], ["1", f"{FIRST + 1}"])


def _style(number: int, count: int) -> dict[str, str]:
    if count == 2:
        return (
            {"color": GREY, "ls": "--"},
            {"color": BLUE, "ls": "-"},
        )[number]
    return {
        "color": COLOURS[number % len(COLOURS)],
        "ls": DASHES[number % len(DASHES)],
    }
