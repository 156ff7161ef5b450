"""Does it still hold? The same points at two budgets, joined by lines: crossings are changes of order."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tuner.records import Direction
from tuner.report.canvas import CYCLE, GREY, label_lines, new_figure, styled

NUM_NAMED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPoint:
    """One point in an earlier and a later round; the values of the seeds that both have, and of `further` ones.

    The first points are the best of the later round.
    """

    label: str
    earlier: tuple[float, ...]
    later: tuple[float, ...]
    further: tuple[float, ...] = ()


@styled
def draw_rounds(
    points: tuple[SharedPoint, ...],
    *,
    metric: str,
    direction: Direction,
    names: tuple[str, str],
    steps: tuple[int, int],
) -> Figure:
    """A slope from each point's mean in the earlier round to its mean in the later one, over the seeds compared.

    Circles are single seeds.
    """
    figure = new_figure(3.9)
    axes = figure.subplots()
    axes.set_xlim(-0.25, 1.04)
    labels = []
    for index, point in reversed(list(enumerate(points))):
        named = index < NUM_NAMED
        colour = CYCLE[index % len(CYCLE)] if named else GREY
        _draw_slope(axes, point, colour, named=named)
        if named:
            labels.append((_mean(point.later), point.label, colour))
    axes.set_xticks([0, 1], [f"{name}\n{count:,} updates" for name, count in zip(names, steps, strict=True)])
    axes.grid(visible=False, axis="x")
    axes.set_ylabel(f"best validation {metric}")
    values = [value for point in points for value in (*point.earlier, *point.later, *point.further)]
    # Every shared point stays in sight: the comparison is about all of them.
    pad = 0.06 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 0.5
    axes.set_ylim(min(values) - pad, max(values) + pad)
    label_lines(axes, labels)
    handles = [Line2D([], [], color=CYCLE[0], marker="o", ms=7, mec="white", label="mean over seeds compared")]
    if any(len(point.later + point.further) > 1 or len(point.earlier) > 1 for point in points):
        handles.append(Line2D([], [], color=CYCLE[0], marker="o", ms=5, mfc="none", ls="", label="single seeds"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _draw_slope(axes: Axes, point: SharedPoint, colour: str, *, named: bool) -> None:
    ends = [_mean(point.earlier), _mean(point.later)]
    axes.plot(
        [0, 1],
        ends,
        color=colour,
        lw=2 if named else 0.9,
        marker="o",
        ms=7 if named else 4,
        mec="white",
        zorder=3 if named else 2,
    )
    for x, values in ((0, point.earlier), (1, point.later + point.further)):
        if len(values) > 1:
            axes.plot([x] * len(values), list(values), "o", mfc="none", color=colour, ms=5, zorder=4)


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)
