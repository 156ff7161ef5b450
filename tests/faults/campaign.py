"""Campaigns: a kind of fault, done to many studies, each time decided by a seed alone.

Rule: `run` raises if a promise was broken; what it does is a function of its seed, so that a failure can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One kind of fault.

    Attributes:
        name: words joined by hyphens, as the table of results shows them.
        promise: what holds after each fault, in one line.
        num_ci: how many the tests do; seeds 0, 1, 2, ...
        num_full: how many `make faults` does; the same seeds and more.
        run: does the fault of a seed in an empty folder.
    """

    name: str
    promise: str
    num_ci: int
    num_full: int
    run: Callable[[int, Path], None]


def all_campaigns() -> tuple[Campaign, ...]:
    """Every campaign of this folder: `CAMPAIGNS` of each module `*_faults.py`, by module name."""
    modules = sorted(path.stem for path in Path(__file__).parent.glob("*_faults.py"))
    return tuple(campaign for module in modules for campaign in import_module(module).CAMPAIGNS)
