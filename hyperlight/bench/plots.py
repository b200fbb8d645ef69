"""The figures of a report, each as SVG and PNG, and as SVG within a page.

Within a page, text, axes and background take the page's colours, so that a
figure reads well in light and in dark. Figures are as narrow as a phone's;
wider ones scale them up. Colours are told apart by the colour blind too (Okabe
and Ito), and never alone: markers, dashes or words say the same.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    LogLocator,
    NullLocator,
)

from hyperlight.bench.formats import TIMES, format_ratio, format_time
from hyperlight.bench.results import (
    AFTER,
    BEFORE,
    FLOOR,
    GROUPS,
    TRACKERS,
    Comparison,
    Cut,
    Model,
    Phases,
)
from hyperlight.units import format_size

__all__ = [
    "bars",
    "cost",
    "figure_of",
    "format_ratio",
    "format_time",
    "grid",
    "log_axis",
    "model",
    "overview",
    "phases",
    "save",
]

# Replaced by the page's own colours; nothing else may use these two.
INK, PAPER = "#1b1f24", "#fefefe"
GREY, BLUE, ORANGE, RED = "#7f8790", "#0072b2", "#d98e00", "#d55e00"
GREEN, PINK, SKY = "#009e73", "#cc79a7", "#4aa3d8"
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED)
MARKERS = "osD^vPX<>"
SIDES = {
    BEFORE: "before: whole memory copied",
    AFTER: "after: tracking on",
    FLOOR: "memcpy of the dirty pages",
}
WIDTH = 5.0  # inches: at 360 pixels text of 10 points has 9 of them
BAND = 1.25  # a model that is right within a quarter is right

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": PAPER,
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.color": GREY,
    "legend.edgecolor": GREY,
    "legend.facecolor": PAPER,
    "legend.framealpha": 0.8,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "hyperlight",
    "text.color": INK,
    "text.parse_math": False,  # names may hold a dollar
    "xtick.color": INK,
    "ytick.color": INK,
}


def save(figure: Figure, directory: Path, name: str) -> str:
    """Write NAME.svg and NAME.png; the same SVG to stand within a page."""
    with mpl.rc_context(STYLE):
        path = directory / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        figure.savefig(
            path.with_suffix(".png"), dpi=144, metadata={"Software": None}
        )
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # A page holds many figures, and their ids must differ.
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace(INK, "currentColor").replace(PAPER, "var(--card)")


def figure_of(height: float) -> Figure:
    """One as wide as all of them."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def _legend(figure: Figure, *of: Any, ncols: int = 2) -> None:
    """Below it, where it takes no width; `of`: handles and labels."""
    figure.legend(*of, loc="outside lower left", ncols=ncols, frameon=False)


def log_axis(axis: Axis, text: Callable[[float], str]) -> None:
    """Ticks at powers of ten, and between them where they are few."""

    def between(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        return text(value) if high < 40 * low else ""

    axis.set_major_locator(LogLocator(numticks=12))
    axis.set_major_formatter(lambda value, _: text(value))
    axis.set_minor_locator(LogLocator(subs=(2, 5), numticks=12))
    axis.set_minor_formatter(between)


def _groups(comparisons: Sequence[Comparison]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each group, the same whichever are there."""
    names = [*GROUPS, *(c.group for c in comparisons)]
    return {
        name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(dict.fromkeys(names))
    }


def overview(comparisons: Sequence[Comparison]) -> Figure:
    """Every comparison, the largest gain first; filled if it is one."""
    ranked = sorted(comparisons, key=lambda c: -c.speedup)
    with mpl.rc_context(STYLE):
        figure = figure_of(4.8)
        axes = figure.subplots()
        axes.set_yscale("log")
        log_axis(axes.yaxis, lambda value: f"{value:,.6g} {TIMES}")
        low = min(0.4, ranked[-1].speedup / 1.6)
        axes.set_ylim(low, max(3, ranked[0].speedup * 2.2))
        axes.axhspan(low, 1, color=RED, alpha=0.12, lw=0)
        axes.axhline(1, color=INK, lw=1.5)
        for group, (colour, marker) in _groups(ranked).items():
            at = [i for i, c in enumerate(ranked) if c.group == group]
            if not at:
                continue
            ratios = [ranked[i].speedup for i in at]
            fills = [
                PAPER if ranked[i].verdict == "equal" else colour for i in at
            ]
            axes.vlines(at, 1, ratios, color=colour, lw=1, alpha=0.5)
            axes.scatter(
                at, ratios, c=fills, edgecolor=colour, marker=marker, s=26
            )
            axes.scatter([], [], c=colour, marker=marker, label=group)
        axes.scatter(
            [], [], c=PAPER, edgecolor=INK, label="hollow: equal within noise"
        )
        best = ranked[0]
        axes.annotate(
            f"{format_ratio(best.speedup)}  {best.name}",
            (0, best.speedup),
            (8, 4),
            textcoords="offset points",
        )
        for i, c in list(enumerate(ranked))[-3:]:  # more would overlap
            if c.verdict == "slower":
                axes.annotate(
                    f"{c.name} ",
                    (i, c.speedup),
                    ha="right",
                    va="top",
                    color=RED,
                )
        for y, text, edge in (
            (1.1, "\N{BLACK UP-POINTING TRIANGLE} faster", "bottom"),
            (0.9, "\N{BLACK DOWN-POINTING TRIANGLE} slower", "top"),
        ):
            axes.text(
                0.01,
                y,
                text,
                va=edge,
                transform=axes.get_yaxis_transform(),
            )
        axes.set_xticks([])
        axes.set_xlabel(f"{len(ranked)} comparisons, sorted")
        axes.set_ylabel("time before / time after")
        _legend(figure)
    return figure


def bars(comparisons: Sequence[Comparison]) -> Figure:
    """Before and after of each, with what it gains."""
    count = len(comparisons)
    with mpl.rc_context(STYLE):
        figure = figure_of(0.9 + 0.6 * count)
        axes = figure.subplots()
        axes.set_xscale("log")
        log_axis(axes.xaxis, format_time)
        axes.grid(visible=False, axis="y")
        times = [
            [getattr(c, side).median for c in comparisons]
            for side in (BEFORE, AFTER)
        ]
        low, high = min(map(min, times)), max(map(max, times))
        axes.set_xlim(low / 3, high * (high / low * 3) ** 0.16)
        for shift, values, colour, hatch, label in (
            (0, times[0], GREY, "////", "before: whole memory copied"),
            (0.3, times[1], BLUE, None, "after: tracking on"),
        ):
            axes.barh(
                [i + shift for i in range(count)],
                values,
                0.28,
                color=colour if hatch is None else PAPER,
                edgecolor=colour,
                hatch=hatch,
                label=label,
            )
        for i, c in enumerate(comparisons):
            word = "" if c.verdict == "faster" else f", {c.verdict}"
            axes.annotate(
                format_ratio(c.speedup) + word,
                (max(c.before.median, c.after.median), i + 0.15),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=RED if c.verdict == "slower" else INK,
                weight="normal" if c.verdict == "equal" else "bold",
            )
        for i, c in enumerate(comparisons):  # above its bars: names are long
            axes.text(
                0.01,
                i - 0.17,
                c.name,
                va="bottom",
                transform=axes.get_yaxis_transform(),
            )
        axes.set_yticks([])
        axes.set_ylim(count - 0.4, -0.6)
        figure.legend(loc="outside upper left", ncols=1, frameon=False)
    return figure


def grid(comparisons: Sequence[Comparison]) -> Figure:
    """The gain of each cell of host memory, a panel for each pattern."""
    cells = [(c.cell, c) for c in comparisons if c.cell]
    sizes = sorted({cell.size for cell, _ in cells})
    counts = sorted({cell.dirty for cell, _ in cells})
    patterns = list(
        dict.fromkeys(
            cell.pattern
            for cell, _ in sorted(cells, key=lambda pair: pair[0].order[2])
        )
    )
    top = max(2.0, *(max(c.speedup, 1 / c.speedup) for _, c in cells))
    shade = mpl.colormaps["RdBu"]
    norm = LogNorm(1 / top, top)  # white is 1
    with mpl.rc_context(STYLE):
        figure = figure_of(0.3 + len(patterns) * (0.6 + 0.3 * len(sizes)))
        panels = figure.subplots(len(patterns), squeeze=False)[:, 0]
        for cell, c in cells:
            axes = panels[patterns.index(cell.pattern)]
            at = counts.index(cell.dirty), sizes.index(cell.size)
            colour = shade(norm(c.speedup))
            corner = at[0] - 0.48, at[1] - 0.46
            axes.add_patch(Rectangle(corner, 0.96, 0.92, color=colour))
            mark = " slower" if c.verdict == "slower" else ""
            axes.text(
                *at,
                format_ratio(c.speedup) + mark,
                ha="center",
                va="center",
                size=9 if len(counts) < 6 else 7,
                color="black" if colour[1] > 0.5 else "white",
            )
        for pattern, axes in zip(patterns, panels, strict=True):
            axes.set_title(pattern)
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
            axes.tick_params(length=0)
            axes.set_xlim(-0.5, len(counts) - 0.5)
            axes.set_ylim(len(sizes) - 0.5, -0.5)
            axes.set_yticks(range(len(sizes)), map(format_size, sizes))
            axes.set_xticks(range(len(counts)), map(str, counts))
        panels[-1].set_xlabel("dirty pages")
    return figure


def _line_style(side: str, number: int) -> dict[str, Any]:
    """How a side is drawn; `number` counts trackers and alternatives."""
    if side == BEFORE:
        return {"color": GREY, "lw": 2.5, "marker": "s"}
    if side == AFTER:
        return {"color": BLUE, "lw": 2.5, "marker": "o", "zorder": 5}
    if side == FLOOR:
        return {"color": INK, "lw": 1.5, "ls": "--"}
    marker = MARKERS[2 + number % (len(MARKERS) - 2)]
    if side in TRACKERS:
        colour = (SKY, GREEN)[number % 2]
        return {"color": colour, "lw": 1.2, "ls": ":", "marker": marker}
    colour = (ORANGE, PINK, RED)[number % 3]
    return {"color": colour, "lw": 1.2, "ls": "-.", "marker": marker}


def cost(cut: Cut) -> Figure:
    """Every side's time along one axis; the legend ends as the lines do."""
    with mpl.rc_context(STYLE):
        figure = figure_of(3.6 + 0.2 * len(cut.lines))
        axes = figure.subplots()
        axes.set_yscale("log")
        log_axis(axes.yaxis, format_time)
        numbers = itertools.count()
        for side, line in cut.lines.items():
            special = side in (BEFORE, AFTER, FLOOR)
            style = _line_style(side, 0 if special else next(numbers))
            axes.plot(
                [at for at, _ in line],
                [timing.median for _, timing in line],
                label=SIDES.get(side, side),
                markersize=5,
                **style,
            )
        places = sorted({at for line in cut.lines.values() for at, _ in line})
        if cut.axis == "size":
            axes.set_xscale("log")
            names = [format_size(at) for at in places]
            axes.set_xlabel(f"memory ({cut.held} pages dirty, {cut.pattern})")
        else:
            axes.set_xscale("symlog", linthresh=1)  # which has a place for 0
            names = [f"{at:,}" for at in places]
            axes.set_xlabel(
                f"dirty pages ({format_size(cut.held)}, {cut.pattern})"
            )
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_major_formatter(FixedFormatter(names))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.tick_params(axis="x", rotation=35)
        axes.set_ylabel("time of a restore")
        last = [line[-1][1].median for line in cut.lines.values()]
        handles, labels = axes.get_legend_handles_labels()
        order = sorted(range(len(last)), key=lambda i: -last[i])
        _legend(
            figure,
            [handles[i] for i in order],
            [labels[i] for i in order],
            ncols=1,
        )
    return figure


def phases(found: Phases) -> Figure:
    """A restore over the iterations, and what was dirty and hot in each."""
    with mpl.rc_context(STYLE):
        figure = figure_of(5.5)
        times, pages = figure.subplots(2, sharex=True, height_ratios=(3, 2))
        at = range(len(found.restore))
        times.set_yscale("log")
        log_axis(times.yaxis, lambda value: format_time(value * 1e-6))
        times.plot(at, found.full, color=GREY, lw=1, label="whole copied")
        times.plot(at, found.restore, color=BLUE, lw=1.5, label=found.tracker)
        times.set_ylabel("time of a restore")
        pages.plot(at, found.dirty, color=ORANGE, lw=1.5, label="dirty")
        pages.plot(at, found.hot, color=GREEN, lw=1.5, ls="--", label="hot")
        pages.set_ylabel("pages")
        pages.set_xlabel(f"iteration ({format_size(found.size)})")
        pages.set_ylim(bottom=0)
        for phase in found.phases:
            times.axvline(phase.start, color=INK, lw=0.8, ls=":")
            pages.axvline(phase.start, color=INK, lw=0.8, ls=":")
            times.annotate(
                phase.name,
                (phase.start, 1),
                (2, -2),
                xycoords=times.get_xaxis_transform(),
                textcoords="offset points",
                rotation=90,
                va="top",
                size=8,
            )
        for axes in (times, pages):
            axes.set_xlim(0, len(found.restore))
        _legend(figure)
    return figure


def model(found: Model) -> Figure:
    """Measured against modelled: on the diagonal the model is right."""
    within = [r for r in found.rows if 1 / BAND <= r.ratio <= BAND]
    outside = [r for r in found.rows if r not in within]
    with mpl.rc_context(STYLE):
        figure = figure_of(4.6)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            log_axis(axis, lambda value: format_time(value * 1e-6))
        ends = [v for r in found.rows for v in (r.measured, r.model)]
        diagonal = [min(ends) / 2, max(ends) * 2]
        axes.fill_between(
            diagonal,
            [end / BAND for end in diagonal],
            [end * BAND for end in diagonal],
            color=GREY,
            alpha=0.25,
            lw=0,
            label="within a quarter",
        )
        axes.plot(
            diagonal, diagonal, color=INK, lw=1, label="model = measured"
        )
        for rows, colour, marker, label in (
            (within, BLUE, "o", None),
            (outside, RED, "X", "further off"),
        ):
            if rows:
                axes.scatter(
                    [r.model for r in rows],
                    [r.measured for r in rows],
                    s=26,
                    color=colour,
                    marker=marker,
                    label=label,
                    zorder=3,
                )
        axes.set_xlabel("model")
        axes.set_ylabel("measured")
        axes.legend()
    return figure
