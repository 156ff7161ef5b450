"""`frontier.proxy`: the trunk goes on to the end, and averaged weights stand in for cooldowns that it does not have.

Every evaluation of it is a budget, at the price of one run. Real cooldowns of the same trunks calibrate the averages;
if these do not hold here, the phase says so and its real cooldowns are all that it shows.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from tuner.analysis.averages import averaged_split
from tuner.analysis.best_steps import best
from tuner.analysis.proxy_frontier import ProxyFrontier, Trunk, proxy_frontier
from tuner.protocol.replicas import known_seed_deviation, value_of
from tuner.protocol.words import number
from tuner.records import VALIDATION, Json, PhaseRecord, StudyRecord, TrialRecord

REFUSED: Final = "proxy refused"


def proxies_of(study: StudyRecord, phase: PhaseRecord) -> ProxyFrontier | None:
    """The proxies that a phase measured so far; None for an exact frontier, or while no trunk is feasible."""
    trunks = [trial for trial in phase.trials if not trial.spec.schedule.decay_steps and trial.is_feasible]
    opened = next((d for d in study.decisions if d.kind == "frontier_opened" and d.phase == phase.name), None)
    if not trunks or opened is None:
        return None
    cooldowns = [trial for trial in phase.trials if trial.spec.schedule.decay_steps]
    longest = max(cooldowns, key=lambda trial: trial.spec.max_train_steps).spec
    measured = [_trunk(study, trial, cooldowns, phase=phase) for trial in trunks]
    if not any(curve for trunk in measured for curve in trunk.averaged.values()):
        return None
    return proxy_frontier(
        measured,
        phase.plan.eval.direction,
        first_budget=int(opened.numbers["first_budget"]),
        decay_share=longest.schedule.decay_steps / longest.max_train_steps,
        deviation=known_seed_deviation(study),
    )


def values_by_rate(phase: PhaseRecord) -> dict[float, dict[int, list[float]]]:
    """Best values of the feasible cooldowns by learning rate and budget, one for each seed; the answer's rate first."""
    by_rate: dict[float, dict[int, list[float]]] = {}
    for trial in phase.trials:
        budgets = by_rate.setdefault(trial.spec.learning_rate, {})
        if trial.is_feasible and trial.spec.schedule.decay_steps:
            budgets.setdefault(trial.spec.max_train_steps, []).append(value_of(trial))
    return by_rate


def told_calibrated(proxies: ProxyFrontier) -> str:
    """What the proxies are worth, by the cooldowns that calibrated them."""
    found = proxies.calibration
    assert found is not None, "without one they are refused"
    order = f"{found.num_concordant} of {found.num_pairs} pairs of them in the right order"
    return (
        f"by proxy: weights averaged over {found.horizon} updates, held against {len(found.errors)} real cooldowns, "
        f"differ by {found.mean_error:+.3g} on average, which is taken off, with a spread of {number(found.spread)} "
        f"and at most {number(found.residual)} after that; {order}"
    )


def told_refused(proxies: ProxyFrontier, *, study: str, metric: str) -> str:
    """Why the proxies must not be believed, with the numbers and the remedy."""
    measured = "" if proxies.calibration is None else f"; {told_calibrated(proxies)}"
    return (
        f"Averaged weights do not stand in for the cooldown's {metric} here: {proxies.refusal}{measured}; the real "
        f"cooldowns stand: tuner frontier {study} without --proxy measures the others (PROTOCOL 8)."
    )


def proxy_numbers(proxies: ProxyFrontier) -> dict[str, Json]:
    """What a decision, `--json` and the report keep of them."""
    calibration = None if proxies.calibration is None else asdict(proxies.calibration)
    return {"holds": proxies.refusal is None, "refusal": proxies.refusal, "calibration": calibration}


def _trunk(study: StudyRecord, trial: TrialRecord, cooldowns: list[TrialRecord], *, phase: PhaseRecord) -> Trunk:
    plan, spec = phase.plan.eval, trial.spec
    own = [
        each
        for each in cooldowns
        if each.is_feasible and (each.spec.learning_rate, each.spec.seed) == (spec.learning_rate, spec.seed)
    ]
    return Trunk(
        rate=spec.learning_rate,
        curve=study.curve(trial.trial, VALIDATION, plan.metric),
        averaged={h: study.curve(trial.trial, averaged_split(h), plan.metric) for h in plan.averaged_horizons},
        ends={each.spec.max_train_steps: end for each in own if (end := _end(study, each, phase=phase)) is not None},
    )


def _end(study: StudyRecord, cooldown: TrialRecord, *, phase: PhaseRecord) -> float | None:
    """The best value of the decay itself: what came before it is the trunk's."""
    start = cooldown.spec.max_train_steps - cooldown.spec.schedule.decay_steps
    curve = study.curve(cooldown.trial, VALIDATION, phase.plan.eval.metric)
    top = best(tuple(each for each in curve if each[0] > start), phase.plan.eval.direction)
    return None if top is None else top[1]
