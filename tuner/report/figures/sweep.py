"""The budget sweep: steps to fit against the learning rate, and the training curves that were cut at the threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.records import Curve
from tuner.report.canvas import (
    BLUE,
    GREY,
    INK,
    MUTED,
    ORANGE,
    RAMP,
    RED,
    label_lines,
    log_x,
    new_figure,
    step_axis,
    styled,
)
from tuner.report.figures.curves import value_range

RateFate = Literal["fastest", "fitted", "not fitted", "infeasible", "unfinished"]
MARKERS = {"fastest": ("*", BLUE, 15), "fitted": ("o", BLUE, 8), "not fitted": ("^", GREY, 8)}
LABELS = {
    "fastest": "fastest to fit",
    "fitted": "fitted",
    "not fitted": "had not fitted yet when it was stopped here",
    "infeasible": "infeasible",
    "unfinished": "not finished",
}
SATURATED_LABELS = {
    "fastest": "first at the level",
    "fitted": "came to the level",
    "not fitted": "had not come to the level when it was stopped here",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """One constant rate: `step` is when it fitted, or how far it got."""

    rate: float
    step: int
    fate: RateFate
    curve: Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPicture:
    """The sweep's rates; `metric` on the training sample must come to `at_most`: a fit, or the level of saturation."""

    metric: str
    at_most: float | None
    is_saturated: bool = False
    points: tuple[RatePoint, ...]


@styled
def draw_sweep(picture: SweepPicture) -> Figure:
    """Steps to fit above, training curves below."""
    figure = new_figure(6.4)
    upper, lower = figure.subplots(2, 1)
    _draw_steps(upper, picture)
    _draw_curves(lower, picture)
    labels = LABELS | (SATURATED_LABELS if picture.is_saturated else {})
    fates = [fate for fate in LABELS if any(point.fate == fate for point in picture.points)]
    handles = [Line2D([], [], ls="", **_marker(fate), label=labels[fate]) for fate in fates]
    handles.append(Line2D([], [], color=ORANGE, ls=(0, (4, 2)), lw=1.2, label="edge of the grid"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _marker(fate: str) -> dict[str, Any]:
    if fate == "infeasible":
        return {"marker": "x", "color": RED, "ms": 8, "mew": 2}
    if fate == "unfinished":
        return {"marker": "o", "color": GREY, "ms": 7, "mfc": "white"}
    marker, colour, size = MARKERS[fate]
    return {"marker": marker, "color": colour, "ms": size, "mec": "white" if fate != "not fitted" else colour}


def _draw_steps(axes: Axes, picture: SweepPicture) -> None:
    rates = [point.rate for point in picture.points]
    for edge in (min(rates), max(rates)):
        axes.axvline(edge, color=ORANGE, ls=(0, (4, 2)), lw=1.2, zorder=1)
    for point in picture.points:
        axes.plot([point.rate], [point.step], ls="", zorder=3, clip_on=False, **_marker(point.fate))
    log_x(axes, rates)
    top = max(point.step for point in picture.points)
    axes.set_ylim(0, top * 1.22)
    for point in picture.points:
        if point.fate == "fastest":
            note = f"{point.rate:g}: {point.step:,} updates"
            axes.annotate(
                note, (point.rate, point.step), xytext=(0, 11), textcoords="offset points", ha="center", weight="bold"
            )
    goal = "Steps of each rate: none was to fit"
    if picture.at_most is not None:
        goal = f"Steps until train {picture.metric} is at most {picture.at_most:.4g}"
    axes.set_title(goal)
    axes.set_xlabel("constant learning rate (log scale)")
    axes.set_ylabel("updates")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _draw_curves(axes: Axes, picture: SweepPicture) -> None:
    shown = [point.curve for point in picture.points if point.fate != "infeasible"] or [p.curve for p in picture.points]
    goal = [] if picture.at_most is None else [((0, picture.at_most),)]
    low, high = value_range([*shown, *goal], "minimize")
    axes.set_ylim(low, high)
    points = [point for point in sorted(picture.points, key=lambda point: point.rate) if point.curve]
    names = []
    for index, point in enumerate(points):
        colour = RAMP(index / max(1, len(points) - 1))
        steps, values = zip(*point.curve, strict=True)
        axes.plot(
            steps,
            values,
            color=colour,
            lw=2.2 if point.fate == "fastest" else 1.3,
            ls="--" if point.fate == "infeasible" else "-",
        )
        if point.fate == "infeasible":
            axes.plot(
                steps[-1:], [min(max(values[-1], low), high)], "x", color=RED, ms=8, mew=2, clip_on=False, zorder=5
            )
        names.append((values[-1], f"{point.rate:.3g}", colour))
    if picture.at_most is not None:
        _draw_goal(axes, picture)
    axes.set_xlim(left=0, right=max((point.curve[-1][0] for point in points), default=1) * 1.005)
    label_lines(axes, names)
    axes.set_title("Training curves of the constant rates")
    step_axis(axes)
    axes.set_ylabel(f"train {picture.metric}")


def _draw_goal(axes: Axes, picture: SweepPicture) -> None:
    at_most = picture.at_most
    assert at_most is not None
    axes.axhline(at_most, color=INK, lw=1.1, ls=(0, (1, 1.5)))
    axes.annotate(
        f"{'saturates' if picture.is_saturated else 'fits'} at {at_most:.4g}",
        (0.012, at_most),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 4),
        textcoords="offset points",
        color=MUTED,
        fontsize=8.5,
    )
