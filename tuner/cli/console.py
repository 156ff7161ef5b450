"""Where commands print: tables on stdout, progress and warnings on stderr. Markup in strings is never obeyed."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tuner.cli.plain import plain

PIPED_WIDTH = 200
DASH = "–"


def stdout_console() -> Console:
    """A console on stdout; colours only on a terminal without NO_COLOR, wide tables when piped."""
    return _console(stderr=False)


def stderr_console() -> Console:
    """The same on stderr, for progress and notes."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Iterable[str] = (), title: str | None = None
) -> Table:
    """A plain table; columns named in `right` hold numbers. None prints as a dash."""
    drawn = Table(box=SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, header_style="bold")
    aligned = set(right)
    for column in columns:
        drawn.add_column(column, justify="right" if column in aligned else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(DASH if cell is None else plain(str(cell)) for cell in row))
    return drawn


def warn(message: str) -> None:
    """A note on stderr that changes nothing."""
    print(f"tuner: {plain(message)}", file=sys.stderr)
