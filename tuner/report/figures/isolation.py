"""Isolation plots: all trials by the value of each scientific hyperparameter, the best of each value emphasised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.records import Direction
from tuner.report.canvas import CYCLE, INK, MUTED, RED, new_figure, styled
from tuner.report.figures.curves import focus_range

SHAPES = ("o", "s", "D", "^", "v", "P")
WIDTH = 0.5
"""Share of a value's column that its trials spread over."""
ROOM = 96
"""Characters that fit side by side over the whole width; names of values that need more are written aslant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationPoint:
    """One trial; `value` None marks it infeasible; `is_best` if it leads its scientific value in the deciding round."""

    x: str
    value: float | None
    phase: str
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationPanel:
    """One scientific hyperparameter; `values` in the order in which they stand from left to right.

    `best` holds the value of each one's best point, a mean over seeds; `None` where it has none.
    """

    name: str
    values: tuple[str, ...]
    best: tuple[float | None, ...]
    points: tuple[IsolationPoint, ...]


@styled
def draw_isolation(
    panels: tuple[IsolationPanel, ...], *, metric: str, direction: Direction, phases: tuple[str, ...]
) -> Figure:
    """One panel per scientific hyperparameter, all with the same y axis; infeasible trials on its worse side."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(3.4 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    points = [point for panel in panels for point in panel.points]
    low, high = focus_range([point.value for point in points if point.value is not None], direction)
    look = dict(zip(phases, zip(cycle(CYCLE), cycle(SHAPES), strict=False), strict=False))
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        axes.set_ylim(low, high)
        _draw_panel(axes, panels[index], look, worse=high if direction == "minimize" else low)
        if index % columns == 0:
            axes.set_ylabel(f"best validation {metric}")
    figure.legend(handles=_legend(points, look, (low, high)), loc="outside lower center", ncols=4)
    return figure


def _draw_panel(axes: Axes, panel: IsolationPanel, look: dict[str, tuple[str, str]], *, worse: float) -> None:
    place_in_figure = axes.get_subplotspec()
    room = ROOM / (place_in_figure.get_gridspec().ncols if place_in_figure is not None else 1)
    slanted = len(panel.values) * (2 + max(map(len, panel.values), default=0)) > room
    rotation, side = (25, "right") if slanted else (0, "center")
    axes.set_xticks(range(len(panel.values)), panel.values, rotation=rotation, ha=side)
    axes.set_xlim(-0.6, len(panel.values) - 0.4)
    axes.set_xlabel(panel.name)
    for place, (value, best) in enumerate(zip(panel.values, panel.best, strict=True)):
        column = [point for point in panel.points if point.x == value]
        for x, point in zip(_spread(place, len(column)), column, strict=True):
            _draw_point(axes, point, x, look=look[point.phase], worse=worse)
            if point.is_best and point.value is not None:
                axes.plot([x], [point.value], "o", mfc="none", mec=INK, ms=13, mew=1.4, zorder=5)
        if best is not None:
            axes.plot([place - WIDTH * 0.7, place + WIDTH * 0.7], [best, best], color=INK, lw=1.4, zorder=2)


def _draw_point(axes: Axes, point: IsolationPoint, x: float, *, look: tuple[str, str], worse: float) -> None:
    colour, shape = look
    if point.value is None:
        axes.plot([x], [worse], "x", color=RED, ms=7, mew=1.6, clip_on=False, zorder=4)
    elif min(axes.get_ylim()) <= point.value <= max(axes.get_ylim()):
        axes.plot([x], [point.value], shape, color=colour, ms=6.5, mec="white", mew=0.6, alpha=0.9, zorder=3)
    else:
        axes.plot([x], [worse], shape, color=colour, mfc="white", ms=5, mew=1.1, clip_on=False, zorder=3)


def _spread(place: int, count: int) -> Sequence[float]:
    """Where the trials of one value stand side by side, in their order."""
    if count == 1:
        return [float(place)]
    return [place + WIDTH * (index / (count - 1) - 0.5) for index in range(count)]


def _legend(
    points: Sequence[IsolationPoint], look: dict[str, tuple[str, str]], limits: tuple[float, float]
) -> list[Line2D]:
    used = {point.phase for point in points if point.value is not None}
    handles = [
        Line2D([], [], ls="", marker=shape, color=colour, label=phase)
        for phase, (colour, shape) in look.items()
        if phase in used
    ]
    if any(point.is_best for point in points):
        handles.append(
            Line2D(
                [],
                [],
                ls="-",
                color=INK,
                marker="o",
                mfc="none",
                mec=INK,
                ms=11,
                label="the best point of its value, mean over seeds",
            )
        )
    if any(point.value is not None and not limits[0] <= point.value <= limits[1] for point in points):
        handles.append(Line2D([], [], ls="", marker="o", mfc="white", color=MUTED, mew=1.1, label="worse than shown"))
    if any(point.value is None for point in points):
        handles.append(Line2D([], [], ls="", marker="x", color=RED, mew=1.6, label="infeasible"))
    return handles
