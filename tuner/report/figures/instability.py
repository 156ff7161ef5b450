"""Where training was unstable: the outcome of every rate by phase, gradient norms near the best one, and the probe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from tuner.records import Curve
from tuner.report.canvas import BLUE, GREY, INK, MUTED, ORANGE, PURPLE, RED, log_x, new_figure, step_axis, styled

Fate = Literal["feasible", "non-finite", "diverged", "collapsed", "stopped, or crashed"]

LOOKS: Final[dict[Fate, tuple[str, str]]] = {
    "feasible": ("o", BLUE),
    "non-finite": ("x", RED),
    "diverged": ("+", RED),
    "collapsed": ("v", PURPLE),
    "stopped, or crashed": (".", GREY),
}

WIDE: Final = 20
"""Norms whose largest is so many times the smallest are drawn on a log scale."""

MOST_DRAWN: Final = 3
"""Losses of the probe beyond so many times the first are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateOutcome:
    """One trial: its peak rate and how it ended; `phase` is the row that it stands in."""

    rate: float
    phase: str
    fate: Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class NormsPicture:
    """90th percentiles of unclipped gradient norms of the trials near the best rate; thresholds in use and proposed."""

    curves: tuple[Curve, ...]
    now: float | None
    proposed: float | None


@styled
def draw_outcomes(points: tuple[RateOutcome, ...], best: dict[str, float], norms: NormsPicture | None) -> Figure:
    """A row per phase, rates from left to right; `best` is the best rate of a phase. Norms below, if there are any."""
    phases = list(dict.fromkeys(point.phase for point in points))
    height = 1.4 + 0.42 * len(phases)
    if norms is None:
        figure = new_figure(height + 0.3)
        upper = figure.subplots()
    else:
        figure = new_figure(height + 2.9)
        upper, lower = figure.subplots(2, 1, height_ratios=(height, 2.6))
        _draw_norms(lower, norms)
    _draw_rows(upper, points, best, phases=phases)
    fates = [fate for fate in LOOKS if any(point.fate == fate for point in points)]
    handles = [Line2D([], [], ls="", label=fate, **_marker(fate)) for fate in fates]
    handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=INK, ms=12, label="best rate"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


@styled
def draw_probe(curves: tuple[tuple[str, Curve, Curve, bool], ...]) -> Figure:
    """Training loss and gradient norm at every step of the early probe: (name, losses, norms, is unstable) per run."""
    figure = new_figure(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    handles = []
    for (name, losses, norms, is_unstable), colour in zip(curves, (BLUE, ORANGE, PURPLE, MUTED, INK), strict=False):
        for axes, curve in ((upper, losses), (lower, norms)):
            if not curve:
                continue
            steps, values = zip(*curve, strict=True)
            axes.plot(steps, values, color=colour, lw=1.2)
            if is_unstable:
                axes.plot(steps[-1:], values[-1:], "x", color=RED, ms=8, mew=2, zorder=5)
        handles.append(Line2D([], [], color=colour, label=name))
    upper.set_title("Training loss, one batch at every step")
    upper.set_ylabel("train loss")
    # Spikes are what is looked for; only a loss that is gone for good is cut.
    first = max((losses[0][1] for _, losses, _, _ in curves if losses), default=1.0)
    upper.set_ylim(top=min(upper.get_ylim()[1], MOST_DRAWN * first) if first > 0 else None)
    lower.set_title("Gradient norm of each update before clipping")
    lower.set_ylabel("norm")
    _log_if_wide(lower, [value for _, _, norms, _ in curves for _, value in norms])
    step_axis(lower)
    if any(is_unstable for *_, is_unstable in curves):
        handles.append(Line2D([], [], ls="", marker="x", color=RED, mew=2, label="infeasible here"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_rows(axes: Axes, points: tuple[RateOutcome, ...], best: dict[str, float], *, phases: list[str]) -> None:
    rows = {phase: len(phases) - 1 - index for index, phase in enumerate(phases)}
    for point in points:
        axes.plot([point.rate], [rows[point.phase]], ls="", zorder=3, **_marker(point.fate))
    for phase, rate in best.items():
        if phase in rows:
            axes.plot([rate], [rows[phase]], "o", mfc="none", mec=INK, ms=13, mew=1.4, zorder=4)
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(-0.6, len(phases) - 0.4)
    axes.grid(visible=False, axis="y")
    log_x(axes, [point.rate for point in points])
    axes.set_title("How each rate ended")
    axes.set_xlabel("peak learning rate (log scale)")
    axes.set_ylabel("phase")


def _marker(fate: Fate) -> dict[str, Any]:
    shape, colour = LOOKS[fate]
    return {"marker": shape, "color": colour, "ms": 7, "mew": 2 if shape in "x+" else 0.6}


def _draw_norms(axes: Axes, norms: NormsPicture) -> None:
    for curve in norms.curves:
        steps, values = zip(*curve, strict=True)
        axes.plot(steps, values, color=BLUE, lw=1.1, alpha=0.8)
    for threshold, name, colour in ((norms.now, "clipped at", MUTED), (norms.proposed, "proposed", ORANGE)):
        if threshold is not None:
            axes.axhline(threshold, color=colour, lw=1.2, ls=(0, (4, 2)))
            axes.annotate(
                f"{name} {threshold:.3g}",
                (0.99, threshold),
                xycoords=axes.get_yaxis_transform(),
                xytext=(0, 3),
                textcoords="offset points",
                ha="right",
                color=colour,
                fontsize=8.5,
            )
    _log_if_wide(axes, [value for curve in norms.curves for _, value in curve])
    axes.set_title("Gradient norms near the best rate, before clipping")
    axes.set_ylabel("90th percentile")
    step_axis(axes)


def _log_if_wide(axes: Axes, values: list[float]) -> None:
    if not values or min(values) <= 0 or max(values) < WIDE * min(values):
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
