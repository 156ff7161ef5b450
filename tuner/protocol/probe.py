"""`round_1.probe`: late best steps prove nothing, so the best five trials train twice as long and the gain decides.

A decaying rate pulls best steps into the decay whatever the budget, and a high constant rate hides progress
(arXiv:2410.05192; PROTOCOL 4). A probe's trials are those that the doubled round would run: nothing is trained twice.
They measure, and are no candidates for the answer. The probed round stays open until its probe has closed.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Final

from tuner.analysis.probe import CERTAINTY, ProbeGain, measure_probe
from tuner.analysis.transfer import point_key
from tuner.analysis.verdict import CONFOUNDED, BudgetCheck, Verdict, rank_by_best_mean
from tuner.config.schema import StudyConfig
from tuner.protocol.averaged import averaged_of, is_enough, told_choice
from tuner.protocol.joined import is_extended_since
from tuner.protocol.replicas import known_seed_deviation
from tuner.protocol.rounds import GROWTH, check_round, close_round, distinct, feasible, unjudgeable
from tuner.protocol.runs import doubled
from tuner.protocol.widening import widen
from tuner.protocol.words import json_safe, number, steps
from tuner.records import (
    VALIDATION,
    ClosePhase,
    Curve,
    Decision,
    Move,
    OpenPhase,
    PhasePlan,
    PhaseRecord,
    StudyRecord,
    TrialPlan,
    Wait,
)

NUM_PROBED: Final = 5
"""So many of the best trials are probed: with three, chance hid gains of a third of the error (tests/benchmarks)."""

MIN_PROBED: Final = 2
"""Fewer feasible pairs than this say nothing."""

GAIN, NO_GAIN, UNKNOWN = "gain", "no gain", "unknown"
_VERDICTS: dict[str | None, Verdict] = {GAIN: "too short", NO_GAIN: "adequate"}


def probe_name(judged: str) -> str:
    """The probe of a round."""
    return f"{judged}.probe"


def advance_round_1(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> Move:
    """The next move of an open round-1 phase: wait, widen it, probe it if its best steps are late, or close it."""
    if move := unjudgeable(config, study, phase=phase):
        return move
    if wider := widen(config, study, phase=phase):
        return wider
    check = check_round(config, study, phase=phase)
    if not may_probe(config) or check.verdict != CONFOUNDED:
        return close_round(config, study, phase=phase, check=check)
    if config.round_1.adjust == "averaged":
        averaged = averaged_of(config, study, phase=phase, check=check)
        check = replace(check, reason=f"{check.reason}; {told_choice(averaged)}")
        if is_enough(averaged):
            return close_round(config, study, phase=phase, check=replace(check, verdict="adequate"))
    probe = next((other for other in study.phases if other.name == probe_name(phase.name)), None)
    if probe is None:
        return _open(config, study, phase=phase, check=check)
    if not probe.is_closed:
        return _close(config, study, phase=phase, probe=probe)
    return close_round(config, study, phase=phase, check=_settled(check, probe))


def may_probe(config: StudyConfig) -> bool:
    """Whether a round whose best steps are late may be probed."""
    return config.round_1.adjust in ("probe", "averaged")


def probe_again(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord) -> Move | None:
    """The probe of a round-1 phase that was closed without one, if the study was extended since; its verdict is new."""
    if not may_probe(config) or not is_extended_since(study, phase):
        return None
    probe = next((other for other in study.phases if other.name == probe_name(phase.name)), None)
    if probe is not None and probe.is_closed:
        return None
    check = check_round(config, study, phase=phase)
    if probe is None:
        return _open(config, study, phase=phase, check=check) if check.verdict == CONFOUNDED else None
    move = _close(config, study, phase=phase, probe=probe)
    if not isinstance(move, ClosePhase):
        return move
    settled = _settled(check, replace(probe, verdict=move.verdict, reason=move.reason))
    judged = close_round(config, study, phase=phase, check=settled)
    return replace(move, decisions=(*move.decisions, *judged.decisions))


def _open(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord, check: BudgetCheck) -> OpenPhase:
    metric, direction = phase.plan.eval.metric, phase.plan.eval.direction
    curves = {trial.trial: study.curve(trial.trial, VALIDATION, metric) for trial in feasible(phase)}
    by_id = {trial.trial: trial for trial in phase.trials}
    probed = distinct(by_id[trial] for trial in rank_by_best_mean(curves, direction))[:NUM_PROBED]
    before, budget = check.max_train_steps, GROWTH * check.max_train_steps
    trials = tuple(
        TrialPlan(number=place, params=dict(trial.params), spec=doubled(config, trial.spec, max_train_steps=budget))
        for place, trial in enumerate(probed)
    )
    name = probe_name(phase.name)
    reason = (
        f"Best steps of {phase.name} are late ({check.everyone.still_best_late} of all, "
        f"{check.leaders.still_best_late} of the best; of equal ones the last), as a decaying rate makes them: its "
        f"best {len(trials)} trials go on from their plateaus to {steps(budget)}, twice {before:,}, with the same "
        f"decay of {steps(trials[0].spec.schedule.decay_steps)}, to measure what longer training gains (playbook, "
        "Round 1)."
    )
    numbers = {"from_steps": before, "max_train_steps": budget, "from_trials": [trial.trial for trial in probed]}
    decision = Decision(kind="probe_opened", phase=name, reason=reason, numbers=json_safe(numbers))
    plan = PhasePlan(name=name, kind="probe", max_train_steps=budget, eval=phase.plan.eval)
    return OpenPhase(plan=plan, trials=trials, decisions=(decision,))


def _close(config: StudyConfig, study: StudyRecord, *, phase: PhaseRecord, probe: PhaseRecord) -> Move:
    if not all(trial.is_ended for trial in probe.trials):
        return Wait()
    pairs = _pairs(study, phase, probe)
    if len(pairs) < MIN_PROBED:
        reason = (
            f"{len(pairs)} of {len(probe.trials)} probe trials are feasible, fewer than {MIN_PROBED}: "
            "what longer training gains stays unknown"
        )
        return _closed(probe, UNKNOWN, reason=reason, numbers={"num_pairs": len(pairs)})
    found = measure_probe(
        pairs,
        direction=probe.plan.eval.direction,
        min_gain=config.round_1.min_gain,
        seed_deviation=known_seed_deviation(study),
    )
    numbers = asdict(found) | {"num_pairs": len(pairs), "min_gain": config.round_1.min_gain}
    verdict = GAIN if found.is_gain else NO_GAIN
    return _closed(probe, verdict, reason=_told(config, found, probe=probe), numbers=numbers)


def _closed(probe: PhaseRecord, verdict: str, *, reason: str, numbers: dict[str, object]) -> ClosePhase:
    decision = Decision(
        kind="probe", phase=probe.name, reason=f"{reason} (playbook, Round 1).", numbers=json_safe(numbers)
    )
    return ClosePhase(phase=probe.name, verdict=verdict, reason=f"{reason}.", decisions=(decision,))


def _told(config: StudyConfig, found: ProbeGain, *, probe: PhaseRecord) -> str:
    metric, each = probe.plan.eval.metric, ", ".join(f"{gain:+.3g}" for gain in found.gains)
    left_out = len(probe.trials) - len(found.gains)
    each += f"; {left_out} infeasible or crashed" if left_out else ""
    of = told_bar(found)
    return (
        f"{steps(probe.plan.max_train_steps)}, twice the budget: mean gain in the best {metric} of {len(found.gains)} "
        f"trials {found.mean_gain:+.3g}, negative where longer was worse ({each}), "
        f"{'above' if found.is_gain else 'not above'} both round_1.min_gain={number(config.round_1.min_gain)} of "
        f"the value ({number(found.needed_gain)}) and {number(found.chance)} ({of})"
    )


def told_bar(found: ProbeGain) -> str:
    """What a gain was held against beside `min_gain`."""
    unknown = f"chance: {round(100 * CERTAINTY)} % of the gains' own standard error"
    return "the seed deviation" if found.is_seed_deviation else unknown


def _settled(check: BudgetCheck, probe: PhaseRecord) -> BudgetCheck:
    """The check with the verdict that its closed probe gave, as stored."""
    told = (probe.reason or "").removesuffix(".")
    verdict = _VERDICTS.get(probe.verdict, check.verdict)
    return replace(check, verdict=verdict, reason=f"{check.reason}; {probe.name}: {told}")


def _pairs(study: StudyRecord, phase: PhaseRecord, probe: PhaseRecord) -> list[tuple[Curve, Curve]]:
    metric = probe.plan.eval.metric
    shorter = {point_key(trial.params): trial for trial in feasible(phase)}
    return [
        (
            study.curve(shorter[point_key(trial.params)].trial, VALIDATION, metric),
            study.curve(trial.trial, VALIDATION, metric),
        )
        for trial in feasible(probe)
    ]
