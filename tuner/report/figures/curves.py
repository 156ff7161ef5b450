"""Curves of all trials of a phase: the leading ones named, the others in grey, the infeasible ones marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.analysis.best_steps import values_of
from tuner.records import Curve, Direction
from tuner.report.canvas import CYCLE, GREY, INK, MUTED, RED, label_lines, new_figure, step_axis, styled

Role = Literal["leading", "feasible", "stopped", "infeasible", "unfinished"]
FOCUS = 3.0
"""Values further from the best than so many times the median's distance are drawn at the edge."""
MIN_TO_FOCUS = 8
DASHES: dict[str, str] = {"stopped": ":", "infeasible": "--", "unfinished": "-."}


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLine:
    """One trial's curve; `label` names it at the right edge if it leads.

    An infeasible trial may have none: it is marked where it ended, at `last_step`, on the worse side.
    """

    label: str
    curve: Curve
    role: Role
    best: tuple[int, float] | None
    last_step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesPicture:
    """All curves of one phase and split."""

    title: str
    metric: str
    direction: Direction
    max_train_steps: int
    lines: tuple[CurveLine, ...]
    decay_starts: tuple[int, ...] = ()
    split: str = "validation"


@styled
def draw_curves(picture: CurvesPicture) -> Figure:
    """The objective against the step. Values beyond the axis are cut, and the cut is marked."""
    figure = new_figure(3.9)
    axes = figure.subplots()
    feasible = [line.curve for line in picture.lines if line.role != "infeasible"] or _all(picture)
    low, high = value_range(feasible, picture.direction)
    axes.set_ylim(low, high)
    axes.set_xlim(0, picture.max_train_steps * 1.005)
    for start in picture.decay_starts:
        axes.axvline(start, color=MUTED, lw=0.9, ls=(0, (1, 2)))
    colours = dict(zip([line.label for line in picture.lines if line.role == "leading"], CYCLE, strict=False))
    for role, lines in groupby(sorted(picture.lines, key=_rank), key=lambda line: line.role):
        alike = list(lines)
        if role == "leading":
            for line in alike:
                _draw_alike(axes, [line], role, colours.get(line.label, GREY))
        else:
            _draw_alike(axes, alike, role, RED if role == "infeasible" else GREY)
        if role == "infeasible":
            _mark_infeasible(axes, alike, worse=high if picture.direction == "minimize" else low)
    ends = [(line.curve[-1][1], line.label, colours[line.label]) for line in picture.lines if line.label in colours]
    label_lines(axes, ends)
    step_axis(axes)
    axes.set_title(picture.title)
    axes.set_ylabel(f"{picture.split} {picture.metric}")
    figure.legend(handles=_legend(picture), loc="outside lower center", ncols=3)
    return figure


def value_range(curves: Sequence[Curve], direction: Direction) -> tuple[float, float]:
    """Limits that show every curve's course without letting the first steep updates or outliers flatten it.

    What is best is never cut, however far it lies from the others.
    """
    each = [values_of(curve) for curve in curves if curve]
    if not each:
        return 0.0, 1.0
    values = np.concatenate(each)
    low, high = float(np.quantile(values, 0.01)), float(np.quantile(values, 0.97))
    bests = [float(bound) for own in each for bound in (own.min(), own.max())]
    inner = [value for value in bests if low - (high - low) <= value <= high + 0.35 * (high - low)]
    low, high = min([low, *inner]), max([high, *inner])
    if direction == "minimize":
        low = min(low, float(values.min()))
    else:
        high = max(high, float(values.max()))
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - pad, high + pad


def focus_range(values: Sequence[float], direction: Direction) -> tuple[float, float]:
    """Limits around the better values: what lies far on the worse side of the median would flatten the rest."""
    low, high = value_range([((0, value),) for value in values], direction)
    if min(values, default=-1.0) >= 0:
        low = max(low, -0.03 * high)  # No panel is spent on losses that cannot be.
    if len(values) < MIN_TO_FOCUS:
        return low, high
    middle, best = float(np.median(values)), min(values) if direction == "minimize" else max(values)
    reach = FOCUS * abs(middle - best)
    if not reach:
        return low, high
    return (low, min(high, best + reach)) if direction == "minimize" else (max(low, best - reach), high)


def _rank(line: CurveLine) -> tuple[bool, str]:
    """Lines that look alike stand together, the leading ones last: on top."""
    return line.role == "leading", line.role


def _draw_alike(axes: Axes, lines: Sequence[CurveLine], role: Role, colour: str) -> None:
    """Lines of one look as one artist, and their best steps as another: a thousand take no longer than ten."""
    leads = role == "leading"
    shade = 1.0 if leads or role == "infeasible" else 0.75
    look: dict[str, Any] = {"color": colour, "alpha": shade, "zorder": 3 if leads else 2}
    courses = [np.array(line.curve, dtype=np.float64) for line in lines if len(line.curve) > 1]
    axes.add_collection(LineCollection(courses, lw=1.8 if leads else 0.9, ls=DASHES.get(role, "-"), **look))
    _dots(axes, [line.curve[0] for line in lines if len(line.curve) == 1], marker=".", **look)
    if role != "infeasible":
        bests = [line.best for line in lines if line.best is not None]
        size = 6.5 if leads else 4.5
        _dots(axes, bests, marker="o", color=colour, ms=size, mec="white", mew=0.9, zorder=4)


def _mark_infeasible(axes: Axes, lines: Sequence[CurveLine], *, worse: float) -> None:
    low, high = axes.get_ylim()
    ends = [line.curve[-1] if line.curve else (line.last_step, worse) for line in lines]
    ends = [(step, min(max(value, low), high)) for step, value in ends]
    _dots(axes, ends, marker="x", color=RED, ms=7, mew=1.8, clip_on=False, zorder=5)


def _dots(axes: Axes, points: Sequence[tuple[int, float]], **look: Any) -> None:
    if points:
        axes.plot([step for step, _ in points], [value for _, value in points], ls="", **look)


def _legend(picture: CurvesPicture) -> list[Line2D]:
    roles = {line.role for line in picture.lines}
    handles = []
    if "leading" in roles:
        handles.append(Line2D([], [], color=CYCLE[0], lw=1.8, label="leading trials, as trial: best value"))
    if "feasible" in roles:
        handles.append(Line2D([], [], color=GREY, lw=0.9, label="other feasible trials"))
    if "stopped" in roles:
        handles.append(Line2D([], [], color=GREY, lw=0.9, ls=":", label="stopped"))
    if "unfinished" in roles:
        handles.append(Line2D([], [], color=GREY, lw=0.9, ls="-.", label="not finished, or crashed"))
    if "infeasible" in roles:
        handles.append(Line2D([], [], color=RED, lw=0.9, ls="--", marker="x", mew=1.8, label="infeasible"))
    if any(line.best for line in picture.lines):
        handles.append(Line2D([], [], color=INK, marker="o", mec="white", ls="", label="best step"))
    if picture.decay_starts:
        handles.append(Line2D([], [], color=MUTED, lw=0.9, ls=(0, (1, 2)), label="decay starts"))
    return handles


def _all(picture: CurvesPicture) -> list[Curve]:
    return [line.curve for line in picture.lines]
