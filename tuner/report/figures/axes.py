"""Axis plots: the best value of each trial against each searched hyperparameter, one colour per phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.records import Direction
from tuner.report.canvas import CYCLE, GREY, INK, MUTED, ORANGE, RED, log_x, new_figure, styled
from tuner.report.figures.curves import focus_range

MAX_COLUMNS = 3
SHAPES = ("o", "s", "D", "^", "v", "P")


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPoint:
    """One trial: where it stood on this axis, and its best value; `value` None marks it infeasible."""

    x: float | str
    value: float | None
    phase: str
    is_best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPanel:
    """One searched hyperparameter. `scale` as in the search space; `edges` are its low and high."""

    name: str
    scale: str
    edges: tuple[float, float] | None
    points: tuple[AxisPoint, ...]


@styled
def draw_axes(panels: tuple[AxisPanel, ...], *, metric: str, direction: Direction, phases: tuple[str, ...]) -> Figure:
    """Small multiples that share the y axis. Infeasible trials stand as crosses on the worse side."""
    columns = 2 if len(panels) == 4 else min(MAX_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(3.1 * rows + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    low, high = focus_range(
        [point.value for panel in panels for point in panel.points if point.value is not None], direction
    )
    look = dict(zip(phases, zip(cycle(CYCLE), cycle(SHAPES), strict=False), strict=False))
    for index, axes in enumerate(grid.flat):
        if index >= len(panels):
            axes.set_visible(False)
            continue
        axes.set_ylim(low, high)
        _draw_panel(axes, panels[index], look, worse=high if direction == "minimize" else low)
        if index % columns == 0:
            axes.set_ylabel(f"best validation {metric}")
    figure.legend(handles=_legend(panels, look, (low, high)), loc="outside lower center", ncols=4)
    return figure


def _draw_panel(axes: Axes, panel: AxisPanel, look: dict[str, tuple[str, str]], *, worse: float) -> None:
    """The points of a phase are one artist, whatever their number."""
    place = _placing(axes, panel)
    low, high = sorted(axes.get_ylim())
    inside: dict[str, list[tuple[float, float]]] = {phase: [] for phase in look}
    outside: dict[str, list[tuple[float, float]]] = {phase: [] for phase in look}
    failed: list[tuple[float, float]] = []
    for point in panel.points:
        if point.value is None:
            failed.append((place(point.x), worse))
        elif low <= point.value <= high:
            inside[point.phase].append((place(point.x), point.value))
        else:
            outside[point.phase].append((place(point.x), worse))
    size = 5 if len(panel.points) > 40 else 6.5
    for phase, (colour, shape) in look.items():
        _dots(axes, outside[phase], shape, color=colour, mfc="white", ms=5, mew=1.1, clip_on=False)
        _dots(axes, inside[phase], shape, color=colour, ms=size, mec="white", mew=0.6, alpha=0.9)
    _dots(axes, failed, "x", color=RED, ms=7, mew=1.6, clip_on=False, zorder=4)
    for point in panel.points:
        if point.is_best and point.value is not None and low <= point.value <= high:
            _dots(axes, [(place(point.x), point.value)], "o", mfc="none", mec=INK, ms=13, mew=1.4, zorder=5)
    for edge in panel.edges or ():
        axes.axvline(place(edge), color=ORANGE, ls=(0, (4, 2)), lw=1.1, zorder=1)


def _dots(axes: Axes, points: list[tuple[float, float]], marker: str, **look: Any) -> None:
    if points:
        axes.plot([x for x, _ in points], [y for _, y in points], marker, **{"zorder": 3, **look})


def _placing(axes: Axes, panel: AxisPanel) -> Callable[[float | str], float]:
    """Set the x scale of a panel; returns what places a value on it."""
    axes.set_xlabel(panel.name)
    numbers = [float(point.x) for point in panel.points if not isinstance(point.x, str)]
    if len(numbers) < len(panel.points):
        names = sorted({str(point.x) for point in panel.points})
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        return lambda value: float(names.index(str(value)))
    values = [*numbers, *(panel.edges or ())]
    place = axes.get_subplotspec()
    is_narrow = place is not None and place.get_gridspec().ncols > 2
    if panel.scale == "log" and min(values) > 0:
        log_x(axes, values, is_narrow=is_narrow)
    elif panel.scale == "one_minus_log" and max(values) < 1:
        axes.set_xlabel(f"1 - {panel.name} (log scale)")
        log_x(axes, [1 - value for value in values], is_narrow=is_narrow)
        return lambda value: 1 - float(value)
    else:
        pad = 0.06 * (max(values) - min(values)) or 0.5
        axes.set_xlim(min(values) - pad, max(values) + pad)
    return float


def _legend(
    panels: tuple[AxisPanel, ...], look: dict[str, tuple[str, str]], limits: tuple[float, float]
) -> list[Line2D]:
    points = [point for panel in panels for point in panel.points]
    used = {point.phase for point in points if point.value is not None}
    handles = [
        Line2D([], [], ls="", marker=shape, color=colour, label=phase)
        for phase, (colour, shape) in look.items()
        if phase in used
    ]
    if any(point.is_best for point in points):
        handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=INK, ms=11, label="the best"))
    if any(point.value is not None and not limits[0] <= point.value <= limits[1] for point in points):
        handles.append(Line2D([], [], ls="", marker="o", mfc="white", color=MUTED, mew=1.1, label="worse than shown"))
    if any(point.value is None for point in points):
        handles.append(Line2D([], [], ls="", marker="x", color=RED, mew=1.6, label="infeasible"))
    if any(panel.edges for panel in panels):
        handles.append(Line2D([], [], color=ORANGE, ls=(0, (4, 2)), label="edge of the search"))
    return handles or [Line2D([], [], color=GREY, label="no trials")]
