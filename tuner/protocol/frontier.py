"""`frontier`: what would other budgets have reached? Cooldowns forked from one trunk, from half to all of its budget.

The trunk is the answer's run without its decay; a further seed, and half its rate, are trunks of their own, since one
rate flatters the budget that it was tuned for. A frontier of n budgets costs T(1 - d) + d * sum(T_i) updates instead of
sum(T_i) (PROTOCOL 8). Its trials measure, and are no candidates for the answer.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Final

from tuner.analysis.frontier import Frontier, frontier
from tuner.config.schema import Frontier as Asked
from tuner.config.schema import StudyConfig
from tuner.protocol.answer import value_of
from tuner.protocol.frontier_budgets import FRONTIER as FRONTIER
from tuner.protocol.frontier_budgets import budgets_of, decay_share_of, fork_steps_of, shape_of
from tuner.protocol.later_rounds import TWIN_RATE
from tuner.protocol.probe import known_seed_deviation
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
    StudyRecord,
    TrialPlan,
    TrialRecord,
    Wait,
)

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
    """Whether the frontier of these settings, from this trial, was opened or found impossible."""
    settings = _settings(asked, answer)
    return any(d.kind == "frontier_opened" and d.numbers["asked"] == settings for d in study.decisions)


def _settings(asked: Asked, answer: Answer) -> dict[str, Json]:
    return {**asked.model_dump(mode="json"), "trial": answer.best_trial}


def _open(config: StudyConfig, study: StudyRecord, answer: Answer, *, name: str) -> Move | None:
    asked = config.frontier
    assert asked is not None
    base = next(trial for trial in study.trials() if trial.trial == answer.best_trial)
    budgets = budgets_of(asked, base.spec)
    if len(budgets) < MIN_BUDGETS:
        return None
    trials = _trials(config, asked, base, budgets)
    rates = sorted({trial.spec.learning_rate for trial in trials}, reverse=True)
    longest, shortest = max(budgets), min(budgets)
    seeds = "1 seed" if asked.num_seeds == 1 else f"{asked.num_seeds} seeds"
    shape = shape_of(asked, base.spec)
    half = f"; a trunk at half its rate, {number(rates[-1])}, stands beside it" if len(rates) > 1 else ""
    reason = (
        f"{len(budgets)} budgets from {shortest:,} to {steps(longest)} end the trunk of {point(base.params)} with "
        f"{seeds}, each with a {shape} decay of about {100 * decay_share_of(asked, base.spec):.3g} % of it{half}."
    )
    numbers = {
        "asked": _settings(asked, answer),
        "budgets": [{"max_train_steps": budget, "decay_steps": decay} for budget, decay in budgets.items()],
        "from_trial": base.trial,
        "learning_rates": rates,
    }
    plan_eval = study.phase(base.phase).plan.eval
    plan = PhasePlan(name=name, kind="frontier", max_train_steps=longest, eval=plan_eval)
    decision = Decision(kind="frontier_opened", phase=name, reason=reason, numbers=json_safe(numbers))
    return OpenPhase(plan=plan, trials=trials, decisions=(decision,))


def _trials(config: StudyConfig, asked: Asked, base: TrialRecord, budgets: dict[int, int]) -> tuple[TrialPlan, ...]:
    """The longest budget of each trunk first: it makes the trunk."""
    rate = base.spec.learning_rate
    trunks = [(rate, trial_seed(config.seed, index)) for index in range(asked.num_seeds)]
    if asked.half_rate:
        trunks.append((float(f"{TWIN_RATE * rate:.6g}"), trunks[0][1]))
    plans: list[TrialPlan] = []
    for budget, decay in sorted(budgets.items(), reverse=True):
        schedule = replace(base.spec.schedule, decay_steps=decay, decay_shape=shape_of(asked, base.spec))
        for each, seed in trunks:
            spec = replace(
                base.spec,
                seed=seed,
                learning_rate=each,
                max_train_steps=budget,
                schedule=schedule,
                fork_steps=fork_steps_of(budgets, until=budget - decay),
            )
            params = {**base.params, "learning_rate": each} if each != rate else dict(base.params)
            plans.append(TrialPlan(number=len(plans), params=params, spec=spec))
    return tuple(plans)


def _close(study: StudyRecord, phase: PhaseRecord) -> Move:
    if not all(trial.is_ended for trial in phase.trials):
        return Wait()
    found = frontier_of(study, phase)
    if found is None:
        reason = "No trial of the frontier was feasible: what other budgets reach stays unknown."
        return ClosePhase(phase=phase.name, verdict="unknown", reason=reason)
    metric = phase.plan.eval.metric
    top = next(each for each in found.points if each.budget == found.best)
    if found.knee is None:
        told = "the seed deviation is unknown, so no smaller budget can be called as good (frontier.num_seeds: 2)"
        verdict = f"best at {steps(found.best)}, knee unknown"
    else:
        told = (
            f"{steps(found.knee)} is the smallest budget within one seed deviation, {number(found.deviation or 0.0)}, "
            "of it"
        )
        verdict = f"knee at {steps(found.knee)}"
    rates = {each.rate for each in found.points}
    on_envelope = "; the envelope of both rates" if len(rates) > 1 else ""
    reason = f"Best {metric} {number(top.value)} at {steps(found.best)}; {told}{on_envelope} (PROTOCOL 8)."
    numbers = {
        "points": [asdict(each) for each in found.points],
        "best": found.best,
        "knee": found.knee,
        "seed_deviation": found.deviation,
    }
    decision = Decision(kind=FRONTIER, phase=phase.name, reason=reason, numbers=json_safe(numbers))
    return ClosePhase(phase=phase.name, verdict=verdict, reason=reason, decisions=(decision,))


def frontier_of(study: StudyRecord, phase: PhaseRecord) -> Frontier | None:
    """The frontier that a phase measured so far; None while no trial of it is feasible."""
    by_rate = values_by_rate(phase)
    if not any(by_rate.values()):
        return None
    return frontier(by_rate, phase.plan.eval.direction, deviation=known_seed_deviation(study))


def values_by_rate(phase: PhaseRecord) -> dict[float, dict[int, list[float]]]:
    """Best values of the feasible trials by learning rate and budget, one for each seed; the answer's rate first."""
    by_rate: dict[float, dict[int, list[float]]] = {}
    for trial in phase.trials:
        budgets = by_rate.setdefault(trial.spec.learning_rate, {})
        if trial.is_feasible:
            budgets.setdefault(trial.spec.max_train_steps, []).append(value_of(trial))
    return by_rate


def latest(study: StudyRecord) -> PhaseRecord | None:
    """The frontier that was asked for last."""
    return next((phase for phase in reversed(study.phases) if phase.plan.kind == FRONTIER), None)
