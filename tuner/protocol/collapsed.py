"""The third kind of infeasible: a run that ends no better than a constant predictor, while a lower rate learned.

Only a phase's trials together can tell, so it is told when all of them have ended: not by the worker, but by a move
that is committed before anything is judged (PROTOCOL 6). So it never depends on who ended first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tuner.analysis.instability import ends_like_a_constant, learned
from tuner.analysis.steps_to_fit import truncate
from tuner.protocol.joined import open_part
from tuner.protocol.words import json_safe, number
from tuner.records import (
    TRAIN_SAMPLE,
    ClosePhase,
    Curve,
    Decision,
    EndTrials,
    Move,
    Outcome,
    PhaseRecord,
    RunSpec,
    StudyRecord,
    TrialRecord,
    WorkloadFacts,
)

COLLAPSED: Final = Outcome("infeasible", "collapsed")

_STOPPED_BY_THE_SWEEP = ("dominated", "dropped")
"""A rate that the sweep let go has trained as long as it was to; one that time or a crash cut short has not."""


def mark_collapsed(facts: WorkloadFacts, study: StudyRecord) -> EndTrials | None:
    """Name the collapsed trials of an open phase whose trials have all ended; None if there are none to name.

    A sweep's rates pause and end with their phase, see `with_collapsed`. An early probe learns on a smaller sample.
    """
    for phase in study.phases:
        if phase.is_closed or phase.plan.is_sweep or phase.plan.kind == "instability_probe":
            continue
        if not all(trial.is_ended for trial in phase.trials):
            continue
        outcomes = {trial.trial: trial.outcome for trial in phase.trials if trial.outcome is not None}
        # What was there before this part joined was judged without it, and stays.
        here = {trial.trial for trial in phase.trials if trial.phase == open_part(phase)}
        if found := [each for each in _collapsed(facts, study, phase, outcomes=outcomes) if each in here]:
            named = dict.fromkeys(found, COLLAPSED)
            return EndTrials(phase=phase.name, outcomes=named, decisions=(_decision(facts, phase, found),))
    return None


def with_collapsed(facts: WorkloadFacts, study: StudyRecord, move: Move) -> Move:
    """The end of a sweep with its collapsed rates named, by what is left of their curves; other moves as they are."""
    if not isinstance(move, ClosePhase):
        return move
    phase = study.phase(move.phase)
    if not phase.plan.is_sweep:
        return move
    outcomes = {trial.trial: outcome for trial in phase.trials if (outcome := outcome_after(trial, move)) is not None}
    found = _collapsed(facts, study, phase, outcomes=outcomes, truncate_at=move.truncate_at)
    if not found:
        return move
    named = dict.fromkeys(found, COLLAPSED)
    # The decisions of the end stay last: they are what is quoted.
    decisions = (_decision(facts, phase, found), *move.decisions)
    return replace(move, outcomes={**move.outcomes, **named}, decisions=decisions)


def outcome_after(trial: TrialRecord, move: ClosePhase) -> Outcome | None:
    """A trial's outcome once a move has closed its phase."""
    if trial.trial in move.outcomes:
        return move.outcomes[trial.trial]
    if move.truncate_at is not None and trial.last_step > move.truncate_at:
        return Outcome("stopped", "dominated")
    return trial.outcome


def may_collapse(constant_loss: float | None, study: StudyRecord, trial: TrialRecord) -> bool:
    """Whether a trial that ended may yet be named collapsed when its phase has ended."""
    ended_well = trial.outcome is not None and trial.outcome.kind == "complete"
    return ended_well and constant_loss is not None and ends_like_a_constant(_loss(study, trial), constant_loss)


def _collapsed(
    facts: WorkloadFacts,
    study: StudyRecord,
    phase: PhaseRecord,
    *,
    outcomes: Mapping[int, Outcome],
    truncate_at: int | None = None,
) -> list[int]:
    """Trials that trained to their end and learned nothing, though one of the phase at a lower rate did."""
    constant = facts.constant_loss
    if constant is None:
        return []
    judged = [trial for trial in phase.trials if _has_trained(outcomes.get(trial.trial))]
    curves = {trial.trial: truncate(_loss(study, trial), truncate_at) for trial in judged}
    learning = [trial.spec for trial in judged if learned(curves[trial.trial], constant)]
    return [
        trial.trial
        for trial in judged
        if any(_is_lower(spec, trial.spec) for spec in learning) and ends_like_a_constant(curves[trial.trial], constant)
    ]


def _is_lower(spec: RunSpec, other: RunSpec) -> bool:
    """Whether a run is one at a lower rate; rates of different optimizers do not compare."""
    return spec.optimizer.name == other.optimizer.name and spec.learning_rate < other.learning_rate


def _has_trained(outcome: Outcome | None) -> bool:
    if outcome is None:
        return False
    return outcome.kind == "complete" or (outcome.kind == "stopped" and outcome.reason in _STOPPED_BY_THE_SWEEP)


def _loss(study: StudyRecord, trial: TrialRecord) -> Curve:
    return study.curve(trial.trial, TRAIN_SAMPLE, "loss")


def _decision(facts: WorkloadFacts, phase: PhaseRecord, found: list[int]) -> Decision:
    assert facts.constant_loss is not None
    rates = sorted(trial.spec.learning_rate for trial in phase.trials if trial.trial in found)
    told = ", ".join(number(rate) for rate in rates)
    reason = (
        f"Collapsed: {len(found)} of {len(phase.trials)} trials of {phase.name} (learning_rate {told}) end no better "
        f"than a constant predictor (train loss {number(facts.constant_loss)}), while a lower rate learned; they are "
        "infeasible (playbook, instability)."
    )
    numbers = {"trials": found, "learning_rates": rates, "constant_loss": facts.constant_loss}
    return Decision(kind="collapsed", phase=phase.name, reason=reason, numbers=json_safe(numbers))
