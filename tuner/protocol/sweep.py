"""`budget_sweep`: the first candidate for max_train_steps is the number of steps of the fastest constant rate.

After the playbook's Step 0 and Step 1a (PROTOCOL 2). All rates share a budget that doubles until one fits; the fastest
must not lie on the edge of the grid, else the grid grows there. Only final records are looked at.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from tuner.analysis.steps_to_fit import nearby_thresholds, steps_to_fit
from tuner.config.resolve import eval_spec, perfect_fit
from tuner.config.schema import StudyConfig
from tuner.protocol.failures import give_up, nothing_fitted, nothing_left, still_on_edge
from tuner.protocol.grid import beyond, grid, next_rung, num_doublings
from tuner.protocol.runs import check_first_guess, check_names, eval_cadence, sweep_trial, switched_off, warmup_steps
from tuner.protocol.standings import Edge, Standings, fastest_at, fit_curve, learning_rate_of, standings
from tuner.protocol.words import epochs, json_safe, number, steps
from tuner.records import (
    AddTrials,
    ClosePhase,
    Decision,
    FitRule,
    Json,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    RaiseTarget,
    StudyRecord,
    TrialRecord,
    Wait,
    WorkloadFacts,
)

SWEEP: Final = "budget_sweep"

DOUBLINGS_FOR_ALL = 2
SURVIVORS = 3
"""After two doublings without a fit only the three best rates go on."""


def open_sweep(config: StudyConfig, facts: WorkloadFacts) -> OpenPhase:
    """The first move of every study.

    Raises:
        ConfigError: if warmup outlasts `budget.first_guess_steps`, or the search space names nobody's setting.
    """
    check_names(config, facts)
    first_guess, fit = config.budget.first_guess_steps, perfect_fit(config)
    check_first_guess(config)
    plan = PhasePlan(
        name=SWEEP,
        kind=SWEEP,
        max_train_steps=first_guess,
        eval=eval_spec(config),
        fit=fit,
        stop_when_dominated=config.budget_sweep.stop_when_dominated,
    )
    rates = grid(config)
    trials = tuple(
        sweep_trial(config, facts, number=index, learning_rate=rate, max_train_steps=first_guess)
        for index, rate in enumerate(rates)
    )
    return OpenPhase(plan=plan, trials=trials, decisions=(_facts(facts), _opened(config, facts, fit)))


def advance_sweep(config: StudyConfig, facts: WorkloadFacts, *, study: StudyRecord, phase: PhaseRecord) -> Move:
    """The next move of an open sweep."""
    fit = phase.plan.fit
    assert fit is not None, "a sweep is opened with its fit rule"
    if any(trial.state in ("waiting", "running") for trial in phase.trials):
        return Wait()
    found = standings(study, phase, fit)
    if found is None:
        return _next_rung(config, study, phase=phase, fit=fit)
    if found.edge is None:
        return _close(config, facts, phase=phase, fit=fit, found=found)
    if len(phase.trials) - config.budget_sweep.learning_rates.num_rates >= config.budget_sweep.max_widenings:
        return still_on_edge(config, found)
    return _widen(config, facts, phase=phase, found=found, edge=found.edge)


def _next_rung(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord, fit: FitRule) -> Move:
    paused = [trial for trial in phase.trials if trial.state == "paused"]
    if not paused:
        return give_up(nothing_left(phase), phase=SWEEP)
    rung = max(trial.spec.max_train_steps for trial in paused)
    going = [trial for trial in paused if trial.spec.max_train_steps == rung]
    ranked = sorted(going, key=lambda trial: (_lowest(study, trial, fit), trial.number))
    target = next_rung(config, rung)
    if target is None:
        leader = ranked[0]
        return nothing_fitted(config, fit, leader=leader, curve=fit_curve(study, leader, fit))
    if num_doublings(config, rung) >= DOUBLINGS_FOR_ALL:
        ranked = ranked[:SURVIVORS]
    lowest, rates = _lowest(study, ranked[0], fit), sorted(learning_rate_of(trial) for trial in ranked)
    who = "all rates go" if len(ranked) == len(going) else f"the {len(ranked)} best rates go"
    reason = (
        f"No rate reached train {fit.metric} {number(fit.at_most)} within {steps(rung)} (lowest {number(lowest)} at "
        f"learning_rate {number(learning_rate_of(ranked[0]))}): {who} on to {steps(target)} (playbook, Step 0)."
    )
    numbers = {"from_steps": rung, "max_train_steps": target, "lowest": lowest, "learning_rates": rates}
    decision = Decision(kind="rung", phase=SWEEP, reason=reason, numbers=json_safe(numbers))
    ids = tuple(trial.trial for trial in sorted(ranked, key=lambda trial: trial.number))
    return RaiseTarget(phase=SWEEP, trials=ids, max_train_steps=target, decisions=(decision,))


def _widen(config: StudyConfig, facts: WorkloadFacts, *, phase: PhaseRecord, found: Standings, edge: Edge) -> AddTrials:
    rate = beyond(config, (standing.learning_rate for standing in found.everyone), edge)
    rung = max(trial.spec.max_train_steps for trial in phase.trials)
    # Beyond s* a new rate can no longer be the fastest.
    target = found.fastest_step if phase.plan.stop_when_dominated else rung
    index = 1 + max(trial.number for trial in phase.trials)
    trial = sweep_trial(config, facts, number=index, learning_rate=rate, max_train_steps=target)
    fastest = found.fastest.learning_rate
    reason = (
        f"The fastest rate {number(fastest)} ({steps(found.fastest_step)}) lies on the {edge} edge of the grid, where "
        f"a better one may hide: {number(rate)} joins it (playbook, Step 1a)."
    )
    numbers = {"edge": edge, "fastest": fastest, "steps_to_fit": found.fastest_step, "learning_rate": rate}
    decision = Decision(kind="widened", phase=SWEEP, reason=reason, numbers=json_safe(numbers))
    return AddTrials(phase=SWEEP, trials=(trial,), decisions=(decision,))


def _close(
    config: StudyConfig, facts: WorkloadFacts, *, phase: PhaseRecord, fit: FitRule, found: Standings
) -> ClosePhase:
    budget, rate = found.fastest_step, found.fastest.learning_rate
    length = f"{steps(budget)} ({epochs(budget, config.training.global_batch_size, facts)})"
    reason = (
        f"The fastest constant rate, {number(rate)}, first reached train {fit.metric} {number(fit.at_most)} after "
        f"{length}; it is not on the edge of the grid."
    )
    decision = Decision(
        kind="budget",
        phase=SWEEP,
        reason=f"{reason} These are round 1's max_train_steps (playbook, Step 1a).",
        numbers=_budget_numbers(fit, found),
    )
    return ClosePhase(
        phase=SWEEP,
        verdict=f"fits in {steps(budget)}",
        reason=reason,
        truncate_at=budget if phase.plan.stop_when_dominated else None,
        outcomes={s.trial.trial: s.outcome for s in found.everyone if s.outcome != s.trial.outcome},
        decisions=(decision,),
    )


def _budget_numbers(fit: FitRule, found: Standings) -> dict[str, Json]:
    stricter, looser = nearby_thresholds(fit.at_most)
    rates = [
        {
            "learning_rate": standing.learning_rate,
            "steps_to_fit": steps_to_fit(standing.curve, fit.at_most),
            "outcome": standing.outcome.kind,
            "reason": standing.outcome.reason,
        }
        for standing in sorted(found.everyone, key=lambda standing: standing.learning_rate)
    ]
    nearby = []
    for threshold in (stricter, looser):
        fastest = fastest_at(found.everyone, threshold)
        num_steps, rate = fastest if fastest else (None, None)
        nearby.append({"at_most": threshold, "steps_to_fit": num_steps, "learning_rate": rate})
    numbers: dict[str, Json] = json_safe(
        {
            "max_train_steps": found.fastest_step,
            "learning_rate": found.fastest.learning_rate,
            "metric": fit.metric,
            "at_most": fit.at_most,
            "rates": rates,
            "nearby_thresholds": nearby,
        }
    )
    return numbers


def _facts(facts: WorkloadFacts) -> Decision:
    reason = (
        f"The data has {facts.num_train_examples:,} training, {facts.num_validation_examples:,} validation and "
        f"{facts.num_test_examples:,} test examples."
    )
    return Decision(kind="facts", reason=reason, numbers=json_safe(asdict(facts)))


def _opened(config: StudyConfig, facts: WorkloadFacts, fit: FitRule) -> Decision:
    rates, first_guess = grid(config), config.budget.first_guess_steps
    off = ["weight_decay", *switched_off(facts)]
    reason = (
        f"{len(rates)} constant rates from {number(rates[0])} to {number(rates[-1])} train until train {fit.metric} is "
        f"at most {number(fit.at_most)}, from {steps(first_guess)} on; switched off: {', '.join(off)} "
        "(playbook, Steps 0 and 1a)."
    )
    numbers = {
        "learning_rates": rates,
        "first_guess_steps": first_guess,
        "max_steps": config.budget.max_steps,
        "warmup_steps": warmup_steps(config, first_guess),
        "eval_every_steps": eval_cadence(config, first_guess),
        "metric": fit.metric,
        "at_most": fit.at_most,
        "switched_off": off,
    }
    return Decision(kind="sweep_opened", phase=SWEEP, reason=reason, numbers=json_safe(numbers))


def _lowest(study: StudyRecord, trial: TrialRecord, fit: FitRule) -> float:
    return min((value for _, value in fit_curve(study, trial, fit)), default=float("inf"))
