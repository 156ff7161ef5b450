"""Where best and first good steps fell in the budget, with the bands that decide drawn behind them."""

from __future__ import annotations

from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tuner.report.canvas import BLUE, EARLY_BAND, INK, LATE_BAND, ORANGE, RED, SKY, count_axis, new_figure, styled
from tuner.report.distribution import NUM_BINS, BestSteps, histogram

TICKS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)


@styled
def draw_best_steps(found: BestSteps) -> Figure:
    """Two histograms over the budget: best steps above, first good steps below; the best group in dark."""
    figure = new_figure(4.6)
    upper, lower = figure.subplots(2, 1, sharex=True)
    check = found.check
    _draw(upper, found, "best_step")
    upper.set_title("Best step: the evaluation with the best objective")
    _name_band(upper, 0.875, f"last 25 %\n{check.everyone.best_late.count} of {check.num_feasible}")
    _name_band(upper, 0.05, f"first 10 %\n{check.everyone.best_early.count} of {check.num_feasible}")
    averaged = _draw_averaged(upper, found)
    _draw(lower, found, "first_good_step")
    lower.set_title("First good step: within two noise deviations of the best 5-evaluation mean")
    _name_band(lower, 0.05, f"first 10 %\n{check.everyone.good_early.count} of {check.num_feasible}")
    lower.set_xticks(TICKS, [_tick(share, check.max_train_steps) for share in TICKS])
    lower.set_xlabel("share of the budget, and updates")
    handles: list[Artist] = [
        Patch(color=BLUE, label="best quarter, at least 4"),
        Patch(color=SKY, label="other feasible trials"),
    ]
    crosses = Line2D(
        [], [], ls="", marker="x", color=RED, mew=1.8, label=f"{found.num_infeasible} infeasible, not drawn"
    )
    handles += [crosses] if found.num_infeasible else []
    figure.legend(handles=[*handles, *averaged], loc="outside lower center", ncols=2 if averaged else 3)
    return figure


def _draw_averaged(axes: Axes, found: BestSteps) -> list[Line2D]:
    """Small triangles on the axis where averaged curves were best, up to the decay's start, which is marked."""
    if found.averaged is None:
        return []
    budget, steps = found.check.max_train_steps, found.averaged.best_steps
    look: dict[str, Any] = {"ls": "", "marker": "^", "mfc": "none", "mec": ORANGE, "ms": 6, "mew": 1.2}
    axes.plot([step / budget for step in steps], [0] * len(steps), clip_on=False, zorder=6, **look)
    axes.axvline(found.averaged.decay_start / budget, ymax=0.78, color=ORANGE, lw=1, ls=(0, (1, 2)))
    label = f"averaged over {found.averaged.calibration.horizon} updates, until the decay (dotted)"
    return [Line2D([], [], label=label, **look)]


def _draw(axes: Axes, found: BestSteps, which: str) -> None:
    budget = found.check.max_train_steps
    leading = histogram([getattr(mark, which) for mark in found.marks if mark.in_best_group], budget)
    others = histogram([getattr(mark, which) for mark in found.marks if not mark.in_best_group], budget)
    centers = [(index + 0.5) / NUM_BINS for index in range(NUM_BINS)]
    axes.axvspan(0, 0.1, color=EARLY_BAND, lw=0)
    if which == "best_step":
        axes.axvspan(0.75, 1, color=LATE_BAND, lw=0)
    width = 0.88 / NUM_BINS
    axes.bar(centers, leading, width, color=BLUE)
    axes.bar(centers, others, width, bottom=leading, color=SKY)
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="x")
    count_axis(axes, "trials")
    axes.set_ylim(0, max(1, *(a + b for a, b in zip(leading, others, strict=True))) * 1.45)


def _name_band(axes: Axes, x: float, text: str) -> None:
    axes.text(x, 0.965, text, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=INK)


def _tick(share: float, budget: int) -> str:
    return f"{share:.0%}\n{share * budget:,.0f}".replace("%", " %")
