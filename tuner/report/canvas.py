"""The look of every figure: one palette (Okabe and Ito's, safe for colour-blind readers), light style, Agg, no pyplot.

Rule: a drawing function returns a `Figure`; only `png` turns it into bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

INK, MUTED, RULE = "#1f2933", "#66707c", "#d9dee4"
BLUE, ORANGE, RED, GREEN, PURPLE, SKY, GREY = (
    "#0072B2",
    "#E69F00",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#9aa3ad",
)
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#8c6d1f", "#5b4a9e", "#3d3d3d")
EARLY_BAND, LATE_BAND = "#fbe3c8", "#d6e9f5"
RAMP = LinearSegmentedColormap.from_list("rates", ["#5b2a86", "#2f6db3", "#1f9e89", "#8fb339", "#d9a400"])

WIDTH_INCHES, DPI = 8.6, 150
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw under the report's style, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return drawn


def new_figure(height: float, *, width: float = WIDTH_INCHES) -> Figure:
    """An empty figure of a size in inches, laid out so that nothing overlaps or is cut."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def count_axis(axes: Axes, label: str) -> None:
    """Whole numbers from zero on the y axis."""
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=2))
    axes.set_ylim(bottom=0)


def step_axis(axes: Axes, label: str = "updates") -> None:
    """Updates on the x axis, with thousands separated."""
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def log_x(axes: Axes, values: Sequence[float], *, is_narrow: bool = False) -> None:
    """A log x axis around positive values, with as many labelled ticks as there is room for."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    span = high / low
    axes.set_xlim(low / max(1.15, span**0.06), high * max(1.15, span**0.06))
    steps = (1.0, 3.0) if is_narrow else (1.0, 2.0, 5.0)
    subs = steps if span < (120 if is_narrow else 300) else (1.0,)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """The positions, moved apart as little as needed so that neighbours are at least `gap` from each other.

    >>> spread([1.0, 1.1, 5.0], 1.0)
    [0.55, 1.55, 5.0]
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    groups: list[list[float]] = []  # each group: sum of (wanted - offset), members
    for index in order:
        groups.append([positions[index], 1])
        while len(groups) > 1 and _start(groups[-2]) + groups[-2][1] * gap > _start(groups[-1]):
            total, count = groups.pop()
            groups[-1][0] += total - count * groups[-1][1] * gap
            groups[-1][1] += count
    moved = [_start(group) + member * gap for group in groups for member in range(int(group[1]))]
    placed = [0.0] * len(positions)
    for index, position in zip(order, moved, strict=True):
        placed[index] = position
    return placed


def _within(positions: list[float], low: float, high: float, gap: float) -> list[float]:
    """Labels that were moved past an end of the axis, moved back in; the others make room."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    floor, placed = low, list(positions)
    for index in order:
        placed[index] = max(placed[index], floor)
        floor = placed[index] + gap
    ceiling = max(high, low + gap * (len(order) - 1))
    for index in reversed(order):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def _start(group: list[float]) -> float:
    return group[0] / group[1]


def label_lines(axes: Axes, labels: Sequence[tuple[float, str, Any]]) -> None:
    """Name lines at the right edge of the axes, moved apart where they overlap: (y in data units, text, colour)."""
    if not labels:
        return
    low, high = axes.get_ylim()
    figure, place = axes.get_figure(root=True), axes.get_subplotspec()
    height = float(figure.get_size_inches()[1]) if figure else 4.0
    num_rows = place.get_gridspec().nrows if place else 1
    # A line of text is 0.15 inches high; titles, ticks and the legend take about a third of the figure.
    gap = (high - low) * 0.15 / (0.68 * height / num_rows)
    wanted = [min(max(y, low), high) for y, _, _ in labels]
    for (y, text, colour), placed in zip(labels, _within(spread(wanted, gap), low, high, gap), strict=True):
        axes.annotate(
            text,
            xy=(1.0, min(max(y, low), high)),
            xytext=(1.03, placed),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            color=colour,
            fontsize=8.5,
            va="center",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
            annotation_clip=False,
        )
