"""`frontier`: what would other budgets have reached? Cooldowns forked from one trunk, from half to all of its budget.

The trunk is the answer's run without its decay; a further seed, and half its rate, are trunks of their own, since one
rate flatters the budget that it was tuned for. A frontier of n budgets costs T(1 - d) + d * sum(T_i) updates instead of
sum(T_i) (PROTOCOL 8). With `proxy` averaged weights stand in for the cooldowns (`proxy_frontier.py`). Its trials
measure, and are no candidates for the answer.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Final

from tuner.analysis.frontier import Frontier, frontier
from tuner.config.schema import Frontier as Asked
from tuner.config.schema import StudyConfig
from tuner.protocol.frontier_budgets import FRONTIER as FRONTIER
from tuner.protocol.frontier_budgets import budgets_of, decay_share_of, ends_of, fork_steps_of, shape_of, trunk_of
from tuner.protocol.later_rounds import TWIN_RATE
from tuner.protocol.proxy_frontier import (
    REFUSED,
    proxies_of,
    proxy_numbers,
    told_calibrated,
    told_refused,
)
from tuner.protocol.proxy_frontier import values_by_rate as values_by_rate
from tuner.protocol.replicas import known_seed_deviation
from tuner.protocol.runs import has_plateau, trial_seed
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import (
    Answer,
    ClosePhase,
    Decision,
    Json,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    RunSpec,
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
)

CITED: Final = " (PROTOCOL 8)."
MIN_BUDGETS: Final = 2
"""Fewer than this are no frontier."""


def advance_frontier(config: StudyConfig, study: StudyRecord, answer: Answer) -> Move | None:
    """The next move of the frontier that the config asks for; None when it stands, cannot be, or was not asked for."""
    opened = [phase for phase in study.phases if phase.plan.kind == FRONTIER]
    if opened and not opened[-1].is_closed:
        return _close(study, opened[-1])
    if config.frontier is None or not has_plateau(config):
        return None
    if _is_decided(study, config.frontier, answer):
        return None
    name = FRONTIER if not opened else f"{FRONTIER}.{len(opened) + 1}"
    return _open(config, study, answer, name=name)


def _is_decided(study: StudyRecord, asked: Asked, answer: Answer) -> bool:
    """Whether the frontier of these settings was opened from this trial, or from another seed of it."""
    settings = _settings(asked, answer)
    trials = {trial.trial: trial for trial in study.trials()}
    for decision in study.decisions:
        if decision.kind == "frontier_opened" and {**decision.numbers["asked"], "trial": answer.best_trial} == settings:
            opened = trials[decision.numbers["asked"]["trial"]]
            if _trunk_of(opened) == _trunk_of(trials[answer.best_trial]):
                return True
    return False


def _trunk_of(trial: TrialRecord) -> RunSpec:
    """What a frontier from this trial goes on with: its seeds are its own."""
    return replace(trial.spec, seed=0, fork_steps=())


def _settings(asked: Asked, answer: Answer) -> dict[str, Json]:
    # Without a proxy its settings are left out: the words of decisions that were made before there was one.
    left_out = set() if asked.proxy else {"proxy", "num_calibrations"}
    return {**asked.model_dump(mode="json", exclude=left_out), "trial": answer.best_trial}


def _open(config: StudyConfig, study: StudyRecord, answer: Answer, *, name: str) -> Move | None:
    asked = config.frontier
    assert asked is not None
    base = next(trial for trial in study.trials() if trial.trial == answer.best_trial)
    budgets = budgets_of(asked, base.spec)
    if len(budgets) < MIN_BUDGETS or (asked.proxy and not study.phase_of(base).plan.eval.averaged_horizons):
        return None
    trials = _trials(config, asked, base, budgets)
    rates = sorted({trial.spec.learning_rate for trial in trials}, reverse=True)
    longest, shortest = trials[0].spec.max_train_steps, min(budgets)
    seeds = "1 seed" if asked.num_seeds == 1 else f"{asked.num_seeds} seeds"
    shape = shape_of(asked, base.spec)
    half = f"; a trunk at half its rate, {number(rates[-1])}, stands beside it" if len(rates) > 1 else ""
    decay = f"a {shape} decay of about {100 * decay_share_of(asked, base.spec):.3g} % of it"
    if asked.proxy:
        reason = (
            f"The trunk of {point(base.params)} with {seeds} goes on at a constant rate to {steps(longest)}: each of "
            f"its evaluations from {ends_of(asked, base.spec)[0]:,} on is a budget, which averaged weights judge; "
            f"{len(budgets)} real cooldowns at {', '.join(f'{budget:,}' for budget in budgets)}, each with {decay}, "
            f"calibrate them{half}."
        )
    else:
        reason = (
            f"{len(budgets)} budgets from {shortest:,} to {steps(longest)} end the trunk of {point(base.params)} with "
            f"{seeds}, each with {decay}{half}."
        )
    numbers = {
        "asked": _settings(asked, answer),
        "budgets": [{"max_train_steps": budget, "decay_steps": decay} for budget, decay in budgets.items()],
        "from_trial": base.trial,
        "learning_rates": rates,
    }
    if asked.proxy:
        numbers["first_budget"] = ends_of(asked, base.spec)[0]
    plan_eval = study.phase_of(base).plan.eval
    plan = PhasePlan(name=name, kind="frontier", max_train_steps=longest, eval=plan_eval)
    decision = Decision(kind="frontier_opened", phase=name, reason=reason, numbers=json_safe(numbers))
    return OpenPhase(plan=plan, trials=trials, decisions=(decision,))


def _trials(config: StudyConfig, asked: Asked, base: TrialRecord, budgets: dict[int, int]) -> tuple[TrialPlan, ...]:
    """The longest budget of each trunk first: it makes the trunk; a proxy's trunk, which has no decay, before it."""
    rate = base.spec.learning_rate
    trunks = [(rate, trial_seed(config.seed, index)) for index in range(asked.num_seeds)]
    if asked.half_rate:
        trunks.append((float(f"{TWIN_RATE * rate:.6g}"), trunks[0][1]))
    runs = [
        replace(
            base.spec,
            max_train_steps=budget,
            schedule=replace(base.spec.schedule, decay_steps=decay, decay_shape=shape_of(asked, base.spec)),
            fork_steps=fork_steps_of(budgets, until=budget - decay),
        )
        for budget, decay in sorted(budgets.items(), reverse=True)
    ]
    if asked.proxy:
        trunk = trunk_of(asked, base.spec)
        runs.insert(0, replace(trunk, fork_steps=fork_steps_of(budgets, until=trunk.max_train_steps)))
    plans: list[TrialPlan] = []
    for run in runs:
        for each, seed in trunks:
            spec = replace(run, seed=seed, learning_rate=each)
            params = {**base.params, "learning_rate": each} if each != rate else dict(base.params)
            plans.append(TrialPlan(number=len(plans), params=params, spec=spec))
    return tuple(plans)


def _close(study: StudyRecord, phase: PhaseRecord) -> Move:
    if not all(trial.is_ended for trial in phase.trials):
        return Wait()
    found, proxies = frontier_of(study, phase), proxies_of(study, phase)
    if found is None:
        reason = "No trial of the frontier was feasible: what other budgets reach stays unknown."
        return ClosePhase(phase=phase.name, verdict="unknown", reason=reason)
    if proxies is not None and proxies.refusal is not None:
        verdict, reason = REFUSED, told_refused(proxies, study=study.name, metric=phase.plan.eval.metric)
    else:
        verdict, reason = _told(found, phase.plan.eval.metric)
        if proxies is not None:
            reason = f"{reason.removesuffix(CITED)}; {told_calibrated(proxies)}{CITED}"
    numbers: dict[str, object] = {
        "points": [asdict(each) for each in found.points],
        "best": found.best,
        "knee": found.knee,
        "seed_deviation": found.deviation,
    }
    if proxies is not None:
        numbers["proxy"] = proxy_numbers(proxies)
    decision = Decision(kind=FRONTIER, phase=phase.name, reason=reason, numbers=json_safe(numbers))
    return ClosePhase(phase=phase.name, verdict=verdict, reason=reason, decisions=(decision,))


def _told(found: Frontier, metric: str) -> tuple[str, str]:
    """The verdict, and the reason for it."""
    top = next(each for each in found.points if each.budget == found.best)
    if found.knee is None:
        told = "the seed deviation is unknown, so no smaller budget can be called as good (frontier.num_seeds: 2)"
        verdict = f"best at {steps(found.best)}, knee unknown"
    else:
        told = (
            f"{steps(found.knee)} is the smallest budget within one seed deviation, {number(found.deviation or 0.0)}, "
            "of it"
        )
        if found.knee == found.points[0].budget:
            told += ", and the smallest that was measured: a still smaller one may do (`tuner frontier --budgets`)"
        verdict = f"knee at {steps(found.knee)}"
    rates = {each.rate for each in found.points}
    on_envelope = "; the envelope of both rates" if len(rates) > 1 else ""
    return verdict, f"Best {metric} {number(top.value)} at {steps(found.best)}; {told}{on_envelope}{CITED}"


def frontier_of(study: StudyRecord, phase: PhaseRecord) -> Frontier | None:
    """The frontier that a phase measured so far; None while no trial of it is feasible.

    Of a proxy that holds: its proxies; of one that does not: the real cooldowns that calibrated it.
    """
    proxies = proxies_of(study, phase)
    if proxies is not None and proxies.refusal is None:
        return proxies.frontier
    by_rate = values_by_rate(phase)
    if not any(by_rate.values()):
        return None
    return frontier(by_rate, phase.plan.eval.direction, deviation=known_seed_deviation(study))


def latest(study: StudyRecord) -> PhaseRecord | None:
    """The frontier that was asked for last."""
    return next((phase for phase in reversed(study.phases) if phase.plan.kind == FRONTIER), None)
