"""Whether trials, phases, leases, decisions and the bill of a study agree with each other.

Rule: pure functions of what was read; a trial's numbers are recomputed from its rows, by the functions that wrote them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

from tuner.records import VALIDATION
from tuner.storage import bill
from tuner.storage.findings import Check, Finding, check
from tuner.storage.inspection import Inspection
from tuner.storage.leases import owner_of
from tuner.storage.rows import spec_of

RESTORE = "restore a copy of the database from before, or run the study again under another name"


def check_phases(study: Inspection) -> Check:
    """Phases follow each other without gaps; a closed one has no unfinished trial; an ended study has no open one."""
    return check("phases", len(study.rows.phases), _phase_findings(study))


def check_trials(study: Inspection) -> Check:
    """Each trial's state, outcome and numbers agree with its rows."""
    findings = [finding for trial in study.trials for finding in _trial_findings(study, trial)]
    return check("trials", len(study.trials), findings)


def check_leases(study: Inspection) -> Check:
    """Only running trials are leased, epochs only grow, and no attempt is open but the owner's."""
    findings = [finding for trial in study.trials for finding in _lease_findings(study, trial)]
    leased = [trial for trial in study.trials if trial.state == "running" and trial.lease_owner is not None]
    gone = [trial for trial in leased if _is_gone(study, trial)]
    notes = [f"{_name(trial)} is leased to {_owner(trial)}, {_why_gone(study, trial)}" for trial in gone]
    mendable = tuple(
        Finding(subject=_name(trial), problem="its owner is dead", mend="free", target=trial.id)
        for trial in gone
        if owner_of(trial).is_provably_dead()
    )
    row = study.rows.study
    if row.lease_owner is not None and not study.is_running:
        notes.append(f"the planner's lease is held by {_owner(row)}, {_why_gone(study, row)}")
    return Check(
        name="leases",
        num_checked=len(study.trials) + 1,
        findings=tuple(findings),
        notes=tuple(notes),
        mendable=mendable,
    )


def check_decisions(study: Inspection) -> Check:
    """Decisions are numbered without gaps, and name phases that exist."""
    phases = {phase.name for phase in study.rows.phases}
    findings = []
    for place, row in enumerate(study.rows.decisions):
        if row.ordinal != place:
            problem = f"number {place} is missing: the next is {row.ordinal}"
            findings.append(Finding(subject=f"decision {place}", problem=problem, remedy=RESTORE))
            break
        if row.phase is not None and row.phase not in phases:
            problem = f"is about phase {row.phase!r}, which does not exist"
            findings.append(Finding(subject=f"decision {place}", problem=problem, remedy=RESTORE))
    return check("decisions", len(study.rows.decisions), findings)


def check_bill(study: Inspection) -> Check:
    """What was executed is what the steps asked for cost, plus rework and overshoot, none of them negative."""
    account = bill.build(study.bill)
    mixed = len({row.trial_id for row in study.bill.numerics}) < len(study.bill.numerics)
    by_trial = sum(trial.steps_executed for trial in study.trials)
    problems = []
    if account["executed"] != by_trial:
        problems.append(f"attempts add up to {account['executed']:,} steps, trials to {by_trial:,}")
    # Trials that changed their numerics midway are counted as sharing with none, so their tree may be too large.
    if account["recomputed"] < 0 and not mixed:
        problems.append(
            f"{account['executed']:,} steps were executed, fewer than the {account['stage_tree']:,} of all distinct "
            f"steps and {account['overshoot']:,} of overshoot"
        )
    findings = [Finding(subject="the bill", problem=problem, remedy=RESTORE) for problem in problems]
    return check("bill", 1, findings)


def _phase_findings(study: Inspection) -> Iterator[Finding]:
    state, answer = study.rows.study.state, study.rows.study.answer
    for place, phase in enumerate(study.rows.phases):
        subject = f"phase {phase.name}"
        own = [trial for trial in study.trials if trial.phase_id == phase.id]
        if phase.ordinal != place:
            yield Finding(subject=subject, problem=f"is number {phase.ordinal}, not {place}", remedy=RESTORE)
        if [trial.number for trial in own] != list(range(len(own))):
            yield Finding(subject=subject, problem="has gaps in the numbers of its trials", remedy=RESTORE)
        unfinished = Counter(trial.state for trial in own if trial.state != "ended")
        if phase.is_closed and unfinished:
            told = ", ".join(f"{count} {state}" for state, count in sorted(unfinished.items()))
            yield Finding(subject=subject, problem=f"is closed with trials that have not ended: {told}", remedy=RESTORE)
        if not phase.is_closed and state in ("finished", "no_answer"):
            yield Finding(subject=subject, problem=f"is open, but the study is {state}", remedy=RESTORE)
    # One that goes on after its end, for a frontier or an extension, keeps the answer that it had.
    if (answer is None and state == "finished") or (answer is not None and state == "no_answer"):
        told = "finished without an answer" if answer is None else f"{state} with an answer"
        yield Finding(subject="the study", problem=f"is {told}", remedy=RESTORE)


def _trial_findings(study: Inspection, trial: Row[Any]) -> Iterator[Finding]:
    spec, subject = spec_of(trial.spec), _name(trial)
    for problem in _contradictions(study, trial):
        yield Finding(subject=subject, problem=problem, remedy=RESTORE)
    if trial.max_train_steps != spec.max_train_steps:
        problem = f"max_train_steps is {trial.max_train_steps:,}, its run's is {spec.max_train_steps:,}"
        yield Finding(subject=subject, problem=problem, mend="recompute", target=trial.id)
    expected = recomputed(study, trial)
    for name, value in expected.items():
        if getattr(trial, name) != value:
            problem = f"{name} is {getattr(trial, name)}, its rows say {value}"
            yield Finding(subject=subject, problem=problem, mend="recompute", target=trial.id)


def _contradictions(study: Inspection, trial: Row[Any]) -> Iterator[str]:
    if (trial.state == "ended") != (trial.outcome is not None):
        yield f"is {trial.state} with outcome {trial.outcome}"
    plan = study.plan(trial)
    if trial.state == "paused" and not plan.is_sweep:
        yield f"is paused in {plan.name}, whose targets do not rise"
    if trial.outcome == "complete" and not plan.is_sweep and trial.last_step != trial.max_train_steps:
        yield f"is complete after {trial.last_step:,} of {trial.max_train_steps:,} steps"
    if trial.last_step > trial.max_train_steps:
        yield f"is at step {trial.last_step:,}, beyond its last, {trial.max_train_steps:,}"
    if trial.last_step > 0 and trial.static_digest is None:
        yield f"is at step {trial.last_step:,} without ever having begun"
    fork = (trial.forked_from_trial, trial.forked_from_step)
    if (fork[0] is None) != (fork[1] is None):
        yield "is forked from half a place: a trial without a step, or a step without a trial"
    full = [file for file in study.of_trial(trial.id) if file.kind == "full" and file.global_step == trial.last_step]
    if trial.weights_digest and any(file.weights_digest != trial.weights_digest for file in full):
        yield "its weights_digest is not that of its last checkpoint"


def recomputed(study: Inspection, trial: Row[Any]) -> dict[str, Any]:
    """A trial's numbers as its rows say them."""
    from tuner.analysis.best_steps import best, first_good_step

    plan = study.plan(trial)
    curve = tuple(
        (row.global_step, row.value)
        for row in study.evals.get(trial.id, ())
        if row.split == VALIDATION and row.metric == plan.eval.metric
    )
    top = best(curve, plan.eval.direction)
    own = study.attempts.get(trial.id, ())
    last_step, stop_step = (own[-1].to_step if own else 0), study.phase(trial).stop_step
    return {
        "last_step": last_step if stop_step is None else min(last_step, stop_step),
        "num_evals": len(curve),
        "best_step": top[0] if top else None,
        "best_value": top[1] if top else None,
        "last_value": curve[-1][1] if curve else None,
        "first_good_step": first_good_step(curve, plan.eval.direction) if trial.state == "ended" else None,
        "steps_executed": sum(row.to_step - row.from_step for row in own),
        "num_attempts": len(own),
    }


def _lease_findings(study: Inspection, trial: Row[Any]) -> Iterator[Finding]:
    subject = _name(trial)
    is_leased = trial.lease_owner is not None
    if (trial.state == "running") != is_leased:
        problem = f"is {trial.state}, but {'leased' if is_leased else 'leased to nobody'}"
        yield Finding(subject=subject, problem=problem, mend="free", target=trial.id)
    own = study.attempts.get(trial.id, ())
    newest = max((row.lease_epoch for row in own), default=0)
    if newest > trial.lease_epoch:
        problem = f"has an attempt of epoch {newest}, after its own, {trial.lease_epoch}"
        yield Finding(subject=subject, problem=problem, mend="free", target=trial.id)
    for row in own:
        is_owners = trial.state == "running" and row.lease_epoch == trial.lease_epoch
        if row.how_ended is None and not is_owners:
            problem = f"its attempt of epoch {row.lease_epoch} never ended"
            yield Finding(subject=subject, problem=problem, mend="free", target=trial.id)


def _is_gone(study: Inspection, row: Row[Any]) -> bool:
    return bool(row.lease_expires < study.at) or owner_of(row).is_provably_dead()


def _why_gone(study: Inspection, row: Row[Any]) -> str:
    if owner_of(row).is_provably_dead():
        return "which is dead"
    return f"which has been silent for {study.at - row.lease_expires:,.0f} s longer than a lease lasts"


def _owner(row: Row[Any]) -> str:
    owner = owner_of(row)
    return f"{owner.label} (pid {owner.pid} on {owner.hostname})"


def _name(trial: Row[Any]) -> str:
    return f"trial {trial.id}"
