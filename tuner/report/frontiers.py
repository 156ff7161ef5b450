"""The frontier as rows for the page, the terminal and JSON: one computation, shown three times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tuner.analysis.frontier import Frontier, value_at
from tuner.protocol.measured import SECONDS_PER_HOUR
from tuner.records import PhaseRecord, StudyRecord
from tuner.report.wording import number


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierRow:
    """One budget of the envelope; `gain` per 1,000 steps since the budget before, `hours` of one run of that length."""

    budget: int
    value: float
    gain: float | None
    rate: float
    num_seeds: int
    hours: float | None
    mark: str


def frontier_rows(found: Frontier, *, seconds_per_step: float | None) -> tuple[FrontierRow, ...]:
    """Budgets rising; `mark` says which is the best, and which the knee."""
    marks: dict[int, list[str]] = {}
    for budget, mark in ((found.knee, "knee"), (found.best, "best")):
        if budget is not None:
            marks.setdefault(budget, []).append(mark)
    return tuple(
        FrontierRow(
            budget=point.budget,
            value=point.value,
            gain=None if point.gain_per_step is None else 1000 * point.gain_per_step,
            rate=point.rate,
            num_seeds=point.num_seeds,
            hours=None if seconds_per_step is None else point.budget * seconds_per_step / SECONDS_PER_HOUR,
            mark=", ".join(marks.get(point.budget, [])),
        )
        for point in found.points
    )


def frontier_payload(
    study: StudyRecord, phase: PhaseRecord, found: Frontier, *, seconds_per_step: float | None
) -> dict[str, Any]:
    """`tuner frontier NAME --json`."""
    return {
        "study": study.name,
        "phase": phase.name,
        "metric": phase.plan.eval.metric,
        "best": found.best,
        "knee": found.knee,
        "seed_deviation": found.deviation,
        "budgets": [asdict(row) for row in frontier_rows(found, seconds_per_step=seconds_per_step)],
        "reason": phase.reason,
    }


def bought(found: Frontier, phase: PhaseRecord, *, hours: float, seconds_per_step: float | None) -> dict[str, Any]:
    """What so many hours for one run buy: steps, and the value there, marked if it was extrapolated."""
    if seconds_per_step is None:
        return {"hours": hours, "steps": None, "value": None, "told": "no step was timed, so hours buy nothing known"}
    num_steps = int(hours * SECONDS_PER_HOUR / seconds_per_step)
    metric, first, last = phase.plan.eval.metric, found.points[0].budget, found.points[-1].budget
    told = f"{hours:g} hours buy {num_steps:,} steps at the measured {seconds_per_step:.4g} seconds per step"
    at = value_at(found, num_steps, phase.plan.eval.direction) if num_steps else None
    if at is None:
        told += f", far from the budgets measured, {first:,} to {last:,}: what they reach is unknown"
        return {"hours": hours, "steps": num_steps, "value": None, "is_extrapolated": None, "told": told}
    value, beyond = at
    told += f": {metric} about {number(value)}"
    told += ", EXTRAPOLATED beyond the largest budget measured" if beyond else ", between the budgets measured"
    return {"hours": hours, "steps": num_steps, "value": value, "is_extrapolated": beyond, "told": told}
