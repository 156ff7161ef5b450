"""Where commands print: tables on stdout, progress and warnings on stderr. Markup in strings is never obeyed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from tuner.cli.plain import plain
from tuner.cli.streams import say

PIPED_WIDTH = 200
DASH = "–"


class _Console(Console):
    """Rich ends the program when a pipe breaks; we leave that to `main`, and on stderr go on without a reader."""

    def on_broken_pipe(self) -> None:
        if not self.stderr:
            raise  # rich calls this while it handles the error
        self.quiet = True


def stdout_console() -> Console:
    """A console on stdout; colours only on a terminal without NO_COLOR, wide tables when piped."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """The same on stderr, for progress and notes."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = _Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = (), fold: Iterable[str] = ()
) -> Table:
    """A plain table; columns named in `right` hold numbers, those in `fold` may wrap. None prints as a dash."""
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    cells = [[DASH if cell is None else plain(str(cell)) for cell in row] for row in rows]
    aligned, folding = set(right), set(fold)
    for index, column in enumerate(columns):
        texts = [column, *(row[index] for row in cells)]
        words = [word for text in texts for word in text.split()] if column in folding else texts
        justify: Literal["left", "right"] = "right" if column in aligned else "left"
        drawn.add_column(column, justify=justify, overflow="fold", min_width=max(map(cell_len, words), default=1))
    for row in cells:
        drawn.add_row(*row)
    return drawn


def show(drawn: Table) -> None:
    """Print a table whole on stdout: a terminal that is too narrow wraps its lines, nothing is cut off."""
    console = stdout_console()
    console.width = max(console.width, Measurement.get(console, console.options.update(width=10_000), drawn).minimum)
    console.print(drawn)


def is_wide_enough(drawn: Table) -> bool:
    """Whether a table fits on stdout without wrapping anything."""
    console = stdout_console()
    return Measurement.get(console, console.options.update(width=10_000), drawn).maximum <= console.width


def warn(message: str) -> None:
    """A warning on stderr that changes nothing."""
    say(f"tuner: warning: {plain(message)}")


def note(message: str) -> None:
    """What the command is doing, on stderr."""
    say(f"tuner: {plain(message)}")
