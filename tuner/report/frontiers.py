"""The frontier as rows for the page, the terminal and JSON: one computation, shown three times."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from tuner.analysis.frontier import Frontier, value_at
from tuner.analysis.proxy_frontier import ProxyFrontier
from tuner.protocol.measured import SECONDS_PER_HOUR
from tuner.protocol.proxy_frontier import proxies_of, proxy_numbers, values_by_rate
from tuner.records import PhaseRecord, StudyRecord
from tuner.report.wording import number


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierRow:
    """One budget of the envelope; `gain` per 1,000 steps as in `BudgetPoint`, `hours` of one run of that length.

    `error` is how far the calibrating cooldowns lay from their proxies at most; None where the value is a real one.
    `real` is what the rate's real cooldown reached beside a proxy, where there was one.
    """

    budget: int
    value: float
    gain: float | None
    rate: float
    num_seeds: int
    hours: float | None
    mark: str
    error: float | None = None
    real: float | None = None


def standing_proxies(study: StudyRecord, phase: PhaseRecord) -> ProxyFrontier | None:
    """The proxies that a phase shows as its frontier; None if its values are real."""
    proxies = proxies_of(study, phase)
    return None if proxies is None or proxies.refusal is not None else proxies


def frontier_rows(
    study: StudyRecord, phase: PhaseRecord, found: Frontier, *, seconds_per_step: float | None
) -> tuple[FrontierRow, ...]:
    """Budgets rising; `mark` says which is the best, and which the knee."""
    proxies = standing_proxies(study, phase)
    error = None if proxies is None or proxies.calibration is None else proxies.calibration.residual
    real = {} if proxies is None else values_by_rate(phase)
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
            error=error,
            real=fmean(values) if (values := real.get(point.rate, {}).get(point.budget)) else None,
        )
        for point in found.points
    )


def frontier_payload(
    study: StudyRecord, phase: PhaseRecord, found: Frontier, *, seconds_per_step: float | None
) -> dict[str, Any]:
    """`tuner frontier NAME --json`; `proxy` is null for a frontier of real cooldowns."""
    proxies = proxies_of(study, phase)
    return {
        "study": study.name,
        "phase": phase.name,
        "metric": phase.plan.eval.metric,
        "best": found.best,
        "knee": found.knee,
        "seed_deviation": found.deviation,
        "budgets": [asdict(row) for row in frontier_rows(study, phase, found, seconds_per_step=seconds_per_step)],
        "proxy": None if proxies is None else proxy_numbers(proxies),
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
