"""`tuner extend` as a decision: what was asked for, what the study had found until then, and what is open again.

The decision is committed with the config that it stands for; the protocol reads it like any other (see `grown.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from tuner.analysis.transfer import point_key
from tuner.config.added_points import AddedPoint
from tuner.config.changes import SettingChange, shown_change
from tuner.config.schema import StudyConfig
from tuner.protocol.compute_bound import PRODUCTION, bought_steps, production_steps
from tuner.protocol.joined import EXTENDED
from tuner.protocol.measured import Measured
from tuner.protocol.words import json_safe, number, point, steps
from tuner.records import Decision, Outcome, PhaseRecord, StudyRecord, TrialRecord, TrialState

NO_ANSWER = "no answer"
"""The verdict on a phase that was open when the study gave up, and why its unfinished trials were stopped."""


def new_points(study: StudyRecord, points: Sequence[AddedPoint]) -> list[AddedPoint]:
    """Those of the points that round 1 does not hold already, each once."""
    rounds = (phase for phase in study.phases if phase.plan.kind == "round_1")
    there = {point_key(trial.params) for phase in rounds for trial in phase.trials}
    found: dict[str, AddedPoint] = {}
    for each in points:
        if point_key(each.params) not in there:
            found.setdefault(point_key(each.params), each)
    return list(found.values())


def extension(study: StudyRecord, changed: Sequence[SettingChange], points: Sequence[AddedPoint]) -> Decision:
    """The decision to go on with other settings, and with points of the user's."""
    told = [*(f"{change.path}: {shown_change(change)}" for change in changed), *map(_told_point, points)]
    answer = study.answer
    before = "there was no answer yet"
    if answer is not None:
        before = (
            f"the answer was trial {answer.best_trial}, {answer.metric} {number(answer.best_value)} at step "
            f"{answer.best_step:,} of {answer.max_train_steps:,} with {point(answer.params)}"
        )
    elif study.reason is not None:
        before = f"it had ended without an answer: {study.reason.removesuffix('.')}"
    numbers = {
        "changes": [{"path": each.path, "old": each.old, "new": each.new} for each in changed],
        "points": [dict(each.params) for each in points],
        "answer_before": None if answer is None else asdict(answer),
    }
    reason = f"Extended by the user: {'; '.join(told)}. Until then {before}."
    return Decision(kind=EXTENDED, reason=reason, numbers=json_safe(numbers))


def longer_production(config: StudyConfig, study: StudyRecord, measured: Measured) -> Decision | None:
    """The production length of a compute-bound study, if what was asked for makes it longer; the last round has it."""
    known = production_steps(study)
    if known is None:
        return None
    stated, bought = config.budget.production_steps, bought_steps(config, measured)
    asked = stated if stated is not None else bought
    if asked is None or asked <= known or (stated is not None and bought is not None and stated > bought):
        return None
    why = f"budget.production_steps={asked}" if stated is not None else "what limits.run_hours buys now"
    reason = f"The production length is {steps(asked)} from here on, after {known:,}: {why}; the last round has it."
    numbers = {"production_steps": asked, "from_steps": known}
    return Decision(kind=PRODUCTION, phase="budget_sweep", reason=reason, numbers=json_safe(numbers))


def extended(study: StudyRecord, decisions: Sequence[Decision]) -> StudyRecord:
    """The study as it is once these decisions are committed: phases that giving up had closed are open again."""
    phases = tuple(_reopened(phase) if is_given_up(phase) else phase for phase in study.phases)
    told = (*study.decisions, *decisions)
    return replace(study, state="interrupted", reason=None, phases=phases, decisions=told)


def is_given_up(phase: PhaseRecord) -> bool:
    """Whether a phase was closed only because the study ended without an answer."""
    return phase.is_closed and phase.verdict == NO_ANSWER


def _reopened(phase: PhaseRecord) -> PhaseRecord:
    trials = tuple(_waiting(trial) for trial in phase.trials)
    return replace(phase, is_closed=False, verdict=None, reason=None, trials=trials)


def _waiting(trial: TrialRecord) -> TrialRecord:
    if trial.outcome != Outcome("stopped", NO_ANSWER):
        return trial
    state: TrialState = "paused" if trial.last_step >= trial.spec.max_train_steps else "waiting"
    return replace(trial, state=state, outcome=None)


def _told_point(each: AddedPoint) -> str:
    told = f"the point {point(each.params)}"
    if each.from_answer:
        told += f" ({', '.join(each.from_answer)} as in the answer)"
    if each.outside:
        told += f" (warning: {', '.join(each.outside)} is outside of what the study searched)"
    return told
