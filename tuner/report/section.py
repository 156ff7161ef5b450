"""What a report is made of: sections of a claim, its evidence, figures, tables and a caveat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A figure with its file name (no extension) and what a reader who cannot see it should know."""

    name: str
    figure: Figure
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of raw values: rounded on the page, whole in the CSV. `is_folded` hides it behind a click."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One claim and what it rests on. `code` is shown verbatim, as (what it is, text)."""

    title: str
    claim: str
    evidence: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    code: tuple[tuple[str, str], ...] = ()
    caveat: str | None = None
    tone: str = "plain"
    """plain, good (a decided answer) or open (undecided, unfinished, none): colours the claim alone."""
