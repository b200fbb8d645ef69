"""The figure of programs: what a script takes in each way."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperlight.bench.parts import Programs
from hyperlight.bench.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PAPER,
    PINK,
    SKY,
    STYLE,
    figure_of,
    log_axis,
)

__all__ = ["programs"]

#: A colour, and what hatches it.
Look = tuple[str, str | None]
#: In the order of ways: ours is solid, all others are hatched.
LOOKS: tuple[Look, ...] = (
    (BLUE, None),
    (GREY, "...."),
    (ORANGE, "////"),
    (GREEN, "\\\\\\\\"),
    (PINK, "xxxx"),
    (SKY, "----"),
)
#: Inches of a bar, and of what is above and below a script's bars.
BAR, BETWEEN = 0.19, 0.34


def in_milliseconds(value: float) -> str:
    """As an axis and a bar say it."""
    return f"{value:,.3g} ms" if value < 1000 else f"{value:,.0f} ms"


def programs(found: Programs) -> Figure:
    """A group of bars for each script; its name is above them."""
    scripts = found.scripts
    used = {ran.way for ran in found.runs}
    looks = {
        way: LOOKS[number % len(LOOKS)]
        for number, way in enumerate(found.ways)
        if way in used
    }
    height = BAR * len(found.runs) + BETWEEN * len(scripts)
    with mpl.rc_context(STYLE):
        figure = figure_of(0.5 + 0.22 * len(looks) + height)
        axes = figure.subplots()
        axes.set_xscale("log")
        log_axis(axes.xaxis, in_milliseconds)
        axes.grid(visible=False, axis="y")
        times = [ran.took / 1000 for ran in found.runs]
        low, high = min(times), max(times)
        axes.set_xlim(low / 3, high * (high / low * 3) ** 0.25)
        at = 0.0
        for script, rows in scripts.items():
            at += BETWEEN
            axes.text(
                0.01,
                at - 0.04,
                script,
                va="bottom",
                weight="bold",
                transform=axes.get_yaxis_transform(),
            )
            for ran in rows:
                _bar(axes, ran.took / 1000, at, looks[ran.way])
                at += BAR
        for way, look in looks.items():
            axes.barh(0, 0, label=way, **_filled(look))
        axes.set_yticks([])
        axes.set_ylim(at + 0.08, 0)
        figure.legend(loc="outside upper left", ncols=1, frameon=False)
    return figure


def _bar(axes: Axes, value: float, at: float, look: Look) -> None:
    """One, with its milliseconds behind it."""
    middle = at + BAR / 2
    axes.barh(middle, value, BAR * 0.86, **_filled(look))
    axes.annotate(
        in_milliseconds(value),
        (value, middle),
        (4, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        weight="normal" if look[1] else "bold",
    )


def _filled(look: Look) -> dict[str, Any]:
    colour, hatch = look
    face = PAPER if hatch else colour
    return {"color": face, "edgecolor": colour, "hatch": hatch}
