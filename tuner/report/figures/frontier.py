"""The frontier: the metric against the step budget, one line per learning rate, seeds as circles, the knee marked.

Proxies are thin lines of small dots with the band of their error; the real cooldowns that calibrated them are diamonds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.analysis.frontier import Frontier
from tuner.report.canvas import BLUE, GREEN, INK, MUTED, ORANGE, new_figure, step_axis, styled

COLOURS = (BLUE, ORANGE, GREEN)
ByRate = Mapping[float, Mapping[int, Sequence[float]]]


@dataclass(frozen=True, slots=True)
class Proxies:
    """Calibrated values of averaged weights by learning rate and budget, and how far off they may be."""

    by_rate: ByRate
    error: float


@styled
def draw_frontier(by_rate: ByRate, found: Frontier, *, metric: str, proxies: Proxies | None = None) -> Figure:
    """Means over seeds joined by lines; the envelope is what lies best. The band is one seed deviation of the best."""
    figure = new_figure(3.9)
    axes = figure.subplots()
    top = next(point for point in found.points if point.budget == found.best)
    if found.deviation:
        axes.axhspan(top.value - found.deviation, top.value + found.deviation, color=GREEN, alpha=0.10, lw=0)
    handles = []
    for rate, colour in zip(by_rate, COLOURS, strict=False):
        if proxies is None:
            handles.append(_draw_rate(axes, rate, by_rate[rate], colour))
        else:
            handles += _draw_proxies(axes, rate, proxies, colour)
            _draw_cooldowns(axes, by_rate[rate], colour)
    if proxies is not None:
        handles.append(Line2D([], [], ls="", marker="D", mfc=MUTED, mec="white", ms=8, label="real cooldowns"))
    if any(len(values) > 1 for budgets in by_rate.values() for values in budgets.values()):
        marker = "o" if proxies is None else "d"
        handles.append(Line2D([], [], ls="", marker=marker, mfc="none", mec=MUTED, ms=5, label="single seeds"))
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
    steps, means = _means(budgets)
    axes.plot(steps, means, "o-", color=colour, lw=2, ms=6.5, mec="white", zorder=3)
    _draw_seeds(axes, budgets, colour, marker="o")
    return Line2D([], [], color=colour, lw=2, marker="o", ms=6.5, mec="white", label=f"learning rate {rate:.4g}")


def _draw_proxies(axes: Axes, rate: float, proxies: Proxies, colour: str) -> list[Line2D]:
    steps, means = _means(proxies.by_rate.get(rate, {}))
    if not steps:
        return []
    low, high = ([mean + sign * proxies.error for mean in means] for sign in (-1, 1))
    axes.fill_between(steps, low, high, color=colour, alpha=0.12, lw=0)
    axes.plot(steps, means, ".-", color=colour, lw=1.2, ms=5, zorder=3)
    label = f"proxies at {rate:.4g}, calibrated, +- {proxies.error:.2g}"
    return [Line2D([], [], color=colour, lw=1.2, marker=".", ms=5, label=label)]


def _draw_cooldowns(axes: Axes, budgets: Mapping[int, Sequence[float]], colour: str) -> None:
    steps, means = _means(budgets)
    axes.plot(steps, means, "D", color=colour, ms=8, mec="white", zorder=5)
    _draw_seeds(axes, budgets, colour, marker="d")


def _draw_seeds(axes: Axes, budgets: Mapping[int, Sequence[float]], colour: str, *, marker: str) -> None:
    for step, values in budgets.items():
        if len(values) > 1:
            axes.plot([step] * len(values), list(values), marker, mfc="none", mec=colour, ms=5, zorder=4)


def _means(budgets: Mapping[int, Sequence[float]]) -> tuple[list[int], list[float]]:
    steps = sorted(budget for budget, values in budgets.items() if values)
    return steps, [fmean(budgets[step]) for step in steps]
