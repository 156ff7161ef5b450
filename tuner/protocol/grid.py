"""The sweep's grid of rates: log-spaced, grown past an edge by its own ratio, and rungs that double.

Rates carry six digits: what a user reads is what was trained, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterable

from tuner.config.schema import StudyConfig
from tuner.protocol.standings import Edge


def grid(config: StudyConfig) -> tuple[float, ...]:
    """The sweep's rates, both ends as the user wrote them."""
    rates = config.budget_sweep.learning_rates
    inner = (_rounded(rates.low * ratio(config) ** index) for index in range(1, rates.num_rates - 1))
    return (rates.low, *inner, rates.high)


def ratio(config: StudyConfig) -> float:
    """The factor between neighbouring rates."""
    rates = config.budget_sweep.learning_rates
    return float((rates.high / rates.low) ** (1 / (rates.num_rates - 1)))


def beyond(config: StudyConfig, rates: Iterable[float], edge: Edge) -> float:
    """The next rate past an edge of the grid."""
    known = list(rates)
    return _rounded(max(known) * ratio(config) if edge == "upper" else min(known) / ratio(config))


def next_rung(config: StudyConfig, current: int) -> int | None:
    """Twice the current rung, the last one shorter where `budget.max_steps` ends it; None beyond that."""
    if current >= config.budget.max_steps:
        return None
    return min(2 * current, config.budget.max_steps)


def num_doublings(config: StudyConfig, current: int) -> int:
    """Rungs between `first_guess_steps` and the current one."""
    count, rung = 0, config.budget.first_guess_steps
    while rung < current:
        rung, count = 2 * rung, count + 1
    return count


def _rounded(rate: float) -> float:
    return float(f"{rate:.6g}")
