"""`budget_sweep`: the first candidate for max_train_steps is the number of steps of the fastest constant rate.

After the playbook's Step 0 and Step 1a (PROTOCOL 2). All rates share a budget that doubles until one fits; the fastest
must not lie on the edge of the grid, else the grid grows there. Only final records are looked at.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from tuner.analysis.steps_to_fit import nearby_thresholds, steps_to_fit
from tuner.config.kind_rules import has_length
from tuner.config.resolve import plain_eval_spec
from tuner.config.schema import StudyConfig
from tuner.protocol.compute_bound import end_compute_bound
from tuner.protocol.failures import give_up, never_moved, no_length, nothing_ended, nothing_left, still_on_edge
from tuner.protocol.grid import beyond, grid, next_rung, num_doublings
from tuner.protocol.kinds import (
    decided_kind,
    fitted,
    is_compute_bound,
    is_saturated,
    kind_before_training,
    still_improving,
    sweep_fit,
)
from tuner.protocol.limits import is_widening_cut
from tuner.protocol.measured import Measured
from tuner.protocol.runs import check_first_guess, check_names, eval_cadence, sweep_trial, switched_off, warmup_steps
from tuner.protocol.saturated import best_movement, goal_of, saturated, saturated_standings
from tuner.protocol.scientific import sweep_values, told_sweep_values
from tuner.protocol.standings import (
    FITTED,
    Edge,
    Standings,
    fastest_at,
    learning_rate_of,
    standings,
    train_curve,
    watched,
)
from tuner.protocol.sweep_hours import SWEEP, cap, first_rung, measuring_steps
from tuner.protocol.words import epochs, json_safe, number, steps
from tuner.records import (
    AddTrials,
    ClosePhase,
    Decision,
    FitRule,
    GiveUp,
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

DOUBLINGS_FOR_ALL = 2
SURVIVORS = 3
"""After two doublings without a fit only the three best rates go on."""


def open_sweep(config: StudyConfig, facts: WorkloadFacts) -> OpenPhase | GiveUp:
    """The first move of every study.

    Raises:
        ConfigError: if warmup outlasts `budget.first_guess_steps`, or the search space names nobody's setting.
    """
    check_names(config, facts)
    first_guess, fit, kind = (
        config.budget.first_guess_steps,
        sweep_fit(config, facts),
        kind_before_training(config, facts),
    )
    check_first_guess(config)
    if kind is not None and not has_length(config):
        return no_length(config, kind)
    plan = PhasePlan(
        name=SWEEP,
        kind=SWEEP,
        max_train_steps=first_guess,
        eval=plain_eval_spec(config),
        fit=fit,
        stop_when_dominated=config.budget_sweep.stop_when_dominated,
    )
    rates = grid(config)
    trials = tuple(
        sweep_trial(config, facts, number=index, learning_rate=rate, max_train_steps=measuring_steps(config))
        for index, rate in enumerate(rates)
    )
    decisions = (_facts(facts), *((kind,) if kind else ()), _opened(config, facts, fit))
    return OpenPhase(plan=plan, trials=trials, decisions=decisions)


def advance_sweep(
    config: StudyConfig, facts: WorkloadFacts, *, study: StudyRecord, phase: PhaseRecord, measured: Measured
) -> Move:
    """The next move of an open sweep: wait, settle it if a rate fitted or it saturated, else go on."""
    if any(trial.state in ("waiting", "running") for trial in phase.trials):
        return Wait()
    if rung := first_rung(config, phase, measured):
        return rung
    fit, kind = phase.plan.fit, decided_kind(study)
    if fit is not None and (found := standings(study, phase, fit)) is not None:
        return _settle(config, facts, study=study, phase=phase, end=_End(fit, found, fitted(fit, found.fastest_step)))
    if kind is not None and is_saturated(study):
        return _saturate(config, facts, study=study, phase=phase, decided=kind)
    if not any(trial.state == "paused" for trial in phase.trials):
        return give_up(nothing_left(phase), phase=SWEEP)
    if is_compute_bound(study):
        return end_compute_bound(config, facts, study=study, phase=phase, measured=measured)
    seen = best_movement(study, phase) if _may_saturate(config, phase) else None
    if seen is not None and seen[1].is_still:
        return _saturate(config, facts, study=study, phase=phase, decided=saturated(phase, *seen))
    longer = _next_rung(config, study, phase=phase)
    current = _on_rung(phase)[0].spec.max_train_steps
    too_long = None if longer is None else cap(config, study, longer, current=current, measured=measured)
    if longer is not None and too_long is None:
        return longer
    end = _exhausted(config, facts, study=study, phase=phase, measured=measured)
    return end if too_long is None else replace(end, decisions=(too_long, *end.decisions))


@dataclass(frozen=True, slots=True)
class _End:
    """A sweep in which a rate came to its goal: a threshold, or the level that stands for one. `kind` if it is new."""

    goal: FitRule
    found: Standings
    kind: Decision | None

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return () if self.kind is None else (self.kind,)


def _settle(config: StudyConfig, facts: WorkloadFacts, *, study: StudyRecord, phase: PhaseRecord, end: _End) -> Move:
    """Close a sweep with its fastest rate; widen the grid first if that lies on the edge, and hours hold it."""
    found = end.found
    if found.edge is None or is_widening_cut(study, phase.name):
        return _close(config, facts, phase=phase, end=end)
    if len(phase.trials) - config.budget_sweep.learning_rates.num_rates >= config.budget_sweep.max_widenings:
        return still_on_edge(config, found)
    return _widen(config, facts, phase=phase, end=end, edge=found.edge)


def _saturate(
    config: StudyConfig, facts: WorkloadFacts, *, study: StudyRecord, phase: PhaseRecord, decided: Decision
) -> Move:
    goal = goal_of(decided)
    found = saturated_standings(study, phase, decided)
    if found is None:
        return give_up(nothing_left(phase), phase=SWEEP)
    is_new = decided is not decided_kind(study)
    first = train_curve(study, found.fastest.trial, goal.metric)[0][1]
    if found.edge is None and first <= goal.at_most:
        return never_moved(config, goal, found=found, first=first)
    return _settle(config, facts, study=study, phase=phase, end=_End(goal, found, decided if is_new else None))


def _may_saturate(config: StudyConfig, phase: PhaseRecord) -> bool:
    """Whether the last doubling says something: the first rung holds the start, where much can look still."""
    rung, first_guess = max(trial.spec.max_train_steps for trial in phase.trials), config.budget.first_guess_steps
    return config.workload_kind in ("auto", "saturated") and rung >= 2 * first_guess


def _next_rung(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> RaiseTarget | None:
    """Let the rates go on to the next rung; None if there is none."""
    metric, fit, going = watched(phase.plan), phase.plan.fit, _on_rung(phase)
    rung = going[0].spec.max_train_steps
    ranked = sorted(going, key=lambda trial: (_lowest(study, trial, metric), trial.number))
    target = next_rung(config, rung)
    if target is None:
        return None
    if num_doublings(config, rung) >= DOUBLINGS_FOR_ALL:
        ranked = ranked[:SURVIVORS]
    lowest, rates = _lowest(study, ranked[0], metric), sorted(learning_rate_of(trial) for trial in ranked)
    who = "all rates go" if len(ranked) == len(going) else f"the {len(ranked)} best rates go"
    goal = "came to rest in" if fit is None else f"reached train {fit.metric} {number(fit.at_most)} within"
    what = f"train {metric} " if fit is None else ""
    reason = (
        f"No rate {goal} {steps(rung)} ({what}lowest {number(lowest)} at "
        f"learning_rate {number(learning_rate_of(ranked[0]))}): {who} on to {steps(target)} (playbook, Step 0)."
    )
    numbers = {"from_steps": rung, "max_train_steps": target, "lowest": lowest, "learning_rates": rates}
    decision = Decision(kind="rung", phase=SWEEP, reason=reason, numbers=json_safe(numbers))
    ids = tuple(trial.trial for trial in sorted(ranked, key=lambda trial: trial.number))
    return RaiseTarget(phase=SWEEP, trials=ids, max_train_steps=target, decisions=(decision,))


def _exhausted(
    config: StudyConfig, facts: WorkloadFacts, *, study: StudyRecord, phase: PhaseRecord, measured: Measured
) -> OpenPhase | GiveUp:
    """The longest run allowed neither fitted nor saturated: compute-bound, if anything says how long is long."""
    metric, seen = watched(phase.plan), best_movement(study, phase)
    leader = min(_on_rung(phase), key=lambda trial: (_lowest(study, trial, metric), trial.number))
    curve = train_curve(study, leader, metric)
    improved = bool(curve) and min(value for _, value in curve) < curve[0][1]
    if config.workload_kind == "auto" and has_length(config) and improved:
        found = still_improving(config, metric, leader=leader, moved=None if seen is None else seen[1])
        begun = end_compute_bound(config, facts, study=study, phase=phase, measured=measured, found=found)
        assert isinstance(begun, OpenPhase | GiveUp), "its cooldown is not open yet"
        return begun
    return nothing_ended(config, phase, leader=leader, curve=curve)


def _on_rung(phase: PhaseRecord) -> list[TrialRecord]:
    """The rates that wait at the end of the longest rung."""
    paused = [trial for trial in phase.trials if trial.state == "paused"]
    rung = max(trial.spec.max_train_steps for trial in paused)
    return [trial for trial in paused if trial.spec.max_train_steps == rung]


def _widen(config: StudyConfig, facts: WorkloadFacts, *, phase: PhaseRecord, end: _End, edge: Edge) -> AddTrials:
    found = end.found
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
    # A fit may yet be found out there; a level was found, and binds.
    kind = () if end.kind is None or end.kind.numbers["kind"] == "not_compute_bound" else (end.kind,)
    return AddTrials(phase=SWEEP, trials=(trial,), decisions=(*kind, decision))


def _close(config: StudyConfig, facts: WorkloadFacts, *, phase: PhaseRecord, end: _End) -> ClosePhase:
    fit, found = end.goal, end.found
    budget, rate = found.fastest_step, found.fastest.learning_rate
    is_fit = found.fastest.outcome == FITTED
    length = f"{steps(budget)} ({epochs(budget, config.training.global_batch_size, facts)})"
    goal = f"first reached train {fit.metric} {number(fit.at_most)}"
    if not is_fit:
        goal = f"first came within 2 % of the level at which train {fit.metric} saturates ({number(fit.at_most)})"
    edge = "it is not on the edge of the grid"
    if found.edge is not None:
        edge = f"warning: it lies on the {found.edge} edge of the grid, so that this may be far too long"
    reason = f"The fastest constant rate, {number(rate)}, {goal} after {length}; {edge}."
    decision = Decision(
        kind="budget",
        phase=SWEEP,
        reason=f"{reason} These are round 1's max_train_steps (playbook, Step 1a).",
        numbers=_budget_numbers(fit, found),
    )
    return ClosePhase(
        phase=SWEEP,
        verdict=f"{'fits' if is_fit else 'saturates'} in {steps(budget)}",
        reason=reason,
        # A saturated sweep ran in equal rungs, and what came after s* is the evidence that it stopped moving.
        truncate_at=budget if is_fit and phase.plan.stop_when_dominated else None,
        outcomes={s.trial.trial: s.outcome for s in found.everyone if s.outcome != s.trial.outcome},
        decisions=(*end.decisions, decision),
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


def _opened(config: StudyConfig, facts: WorkloadFacts, fit: FitRule | None) -> Decision:
    rates, first_guess = grid(config), config.budget.first_guess_steps
    off = ["weight_decay", *switched_off(facts)]
    scientific = sweep_values(config, switched_off(facts))
    under = f"; the budget is derived under {told_sweep_values(scientific)}" if scientific else ""
    until = "train loss stops moving" if fit is None else f"train {fit.metric} is at most {number(fit.at_most)}"
    reason = (
        f"{len(rates)} constant rates from {number(rates[0])} to {number(rates[-1])} train until {until}, "
        f"from {steps(first_guess)} on; switched off: {', '.join(off)}"
        f"{under} (playbook, Steps 0 and 1a)."
    )
    numbers = {
        "learning_rates": rates,
        "first_guess_steps": first_guess,
        "max_steps": config.budget.max_steps,
        "warmup_steps": warmup_steps(config, first_guess),
        "eval_every_steps": eval_cadence(config, first_guess),
        "metric": "loss" if fit is None else fit.metric,
        "at_most": None if fit is None else fit.at_most,
        "switched_off": off,
        "scientific": scientific,
    }
    return Decision(kind="sweep_opened", phase=SWEEP, reason=reason, numbers=json_safe(numbers))


def _lowest(study: StudyRecord, trial: TrialRecord, metric: str) -> float:
    return min((value for _, value in train_curve(study, trial, metric)), default=float("inf"))
