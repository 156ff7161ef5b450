"""The frontier of one trunk without its cooldowns: at every evaluation, averaged weights stand in for the decayed ones.

An average over a constant rate comes close to what a cooldown that ends at the same step would reach; how close differs
from study to study. So it is calibrated on real cooldowns of the same trunks, and refused where these contradict it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.analysis.best_steps import best, sign_of
from tuner.analysis.calibration import MIN_CALIBRATIONS, Calibration, calibrate
from tuner.analysis.frontier import Frontier, frontier
from tuner.records import Curve, Direction

RANGE_PARTS = 4
"""An error above this part of what the budgets differ by hides what the frontier is to show (ours)."""

ByRate = dict[float, dict[int, list[float]]]
"""Values by learning rate and budget, one for each seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """One run at a constant rate: its curve, its averaged curves by horizon, and what its real cooldowns came to.

    `ends` are the best values of the decays themselves by budget, each the step at which the decay ended.
    """

    rate: float
    curve: Curve
    averaged: Mapping[int, Curve]
    ends: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFrontier:
    """Proxies of every budget, corrected by the mean error. `frontier` is made of them, refused or not.

    `refusal` says in one clause why they must not be believed; None if they may. `calibration` is None without two
    real cooldowns to compare with.
    """

    by_rate: ByRate
    frontier: Frontier
    calibration: Calibration | None
    refusal: str | None


def proxy_frontier(
    trunks: Sequence[Trunk],
    direction: Direction,
    *,
    first_budget: int,
    decay_share: float,
    deviation: float | None,
) -> ProxyFrontier:
    """Every evaluation of the trunks from `first_budget` on as a budget; the tuned rate's trunks come first.

    The proxy of a budget is the averaged value at that step, or the best that the plateau had reached before its decay
    (a share of `decay_share`) would begin, if that is better: a run may always go back to an earlier checkpoint.

    Raises:
        ValueError: if no trunk has an averaged value there.
    """
    calibration = _calibrated(trunks)
    horizon = min(trunks[0].averaged) if calibration is None else calibration.horizon
    by_rate: ByRate = {}
    for trunk in trunks:
        budgets = by_rate.setdefault(trunk.rate, {})
        for budget, value in trunk.averaged.get(horizon, ()):
            if budget >= first_budget:
                reached = value - (0.0 if calibration is None else calibration.mean_error)
                plateau = tuple(each for each in trunk.curve if each[0] <= (1 - decay_share) * budget)
                budgets.setdefault(budget, []).append(_better(reached, plateau, direction))
    found = frontier(by_rate, direction, deviation=deviation)
    return ProxyFrontier(by_rate=by_rate, frontier=found, calibration=calibration, refusal=_refusal(calibration, found))


def _calibrated(trunks: Sequence[Trunk]) -> Calibration | None:
    horizons = set.intersection(*(set(trunk.averaged) for trunk in trunks))
    at = {horizon: [dict(trunk.averaged[horizon]) for trunk in trunks] for horizon in horizons}
    ends = [
        (place, budget, value)
        for place, trunk in enumerate(trunks)
        for budget, value in sorted(trunk.ends.items())
        if all(budget in at[horizon][place] for horizon in horizons)
    ]
    if len(ends) < MIN_CALIBRATIONS or not horizons:
        return None
    averaged = {horizon: [at[horizon][place][budget] for place, budget, _ in ends] for horizon in horizons}
    return calibrate(averaged, [value for _, _, value in ends])


def _better(value: float, plateau: Curve, direction: Direction) -> float:
    top = best(plateau, direction)
    sign = sign_of(direction)
    return value if top is None or sign * value <= sign * top[1] else top[1]


def _refusal(calibration: Calibration | None, found: Frontier) -> str | None:
    """An error must be smaller than what it is to resolve: one seed deviation, or a quarter of the budgets' range."""
    if calibration is None:
        return f"fewer than {MIN_CALIBRATIONS} real cooldowns can be compared with it"
    values = [point.value for point in found.points]
    part = (max(values) - min(values)) / RANGE_PARTS
    chance = found.deviation or 0.0
    known = "the seed deviation is unknown" if found.deviation is None else f"the seed deviation is {chance:.4g}"
    if calibration.residual > max(chance, part):
        return (
            f"its error after correction, up to {calibration.residual:.4g}, hides what is to be seen ({known}, a "
            f"quarter of what the budgets differ by is {part:.4g})"
        )
    if calibration.discordant_by > max(chance, calibration.residual):
        return (
            f"it puts cooldowns in the wrong order that differ by {calibration.discordant_by:.4g}, more than its error "
            f"after correction, {calibration.residual:.4g} ({known})"
        )
    return None
