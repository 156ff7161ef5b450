"""The frontier: the metric against the step budget, one line per learning rate, seeds as circles, the knee marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.analysis.frontier import Frontier
from tuner.report.canvas import BLUE, GREEN, INK, MUTED, ORANGE, new_figure, step_axis, styled

COLOURS = (BLUE, ORANGE, GREEN)


@styled
def draw_frontier(by_rate: Mapping[float, Mapping[int, Sequence[float]]], found: Frontier, *, metric: str) -> Figure:
    """Means over seeds joined by lines; the envelope is what lies best. The band is one seed deviation of the best."""
    figure = new_figure(3.9)
    axes = figure.subplots()
    top = next(point for point in found.points if point.budget == found.best)
    if found.deviation:
        axes.axhspan(top.value - found.deviation, top.value + found.deviation, color=GREEN, alpha=0.10, lw=0)
    handles = [_draw_rate(axes, rate, by_rate[rate], colour) for rate, colour in zip(by_rate, COLOURS, strict=False)]
    if any(len(values) > 1 for budgets in by_rate.values() for values in budgets.values()):
        handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=MUTED, ms=5, label="single seeds"))
    if found.knee is not None:
        axes.axvline(found.knee, color=INK, lw=1.1, ls=(0, (4, 2)), zorder=1)
        handles.append(Line2D([], [], color=INK, lw=1.1, ls=(0, (4, 2)), label=f"knee: {found.knee:,} updates"))
    if found.deviation:
        label = "best budget, one seed deviation either way"
        handles.append(Line2D([], [], color=GREEN, alpha=0.35, lw=7, label=label))
    step_axis(axes, "max_train_steps (updates)")
    axes.set_ylabel(f"best validation {metric}")
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw_rate(axes: Axes, rate: float, budgets: Mapping[int, Sequence[float]], colour: str) -> Line2D:
    steps = sorted(budget for budget, values in budgets.items() if values)
    axes.plot(steps, [fmean(budgets[step]) for step in steps], "o-", color=colour, lw=2, ms=6.5, mec="white", zorder=3)
    for step in steps:
        if len(budgets[step]) > 1:
            axes.plot([step] * len(budgets[step]), list(budgets[step]), "o", mfc="none", mec=colour, ms=5, zorder=4)
    return Line2D([], [], color=colour, lw=2, marker="o", ms=6.5, mec="white", label=f"learning rate {rate:.4g}")
