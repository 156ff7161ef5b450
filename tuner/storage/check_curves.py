"""Whether each curve holds exactly its own cadence steps up to its last one, and shared rows are their donor's (D7).

Rule: a value that was not finite has no row, so a missing one counts only where nothing explains it: the trial ended
well, and no exponential of a large loss or average of weights is meant. A row twice is impossible: the primary key
refuses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

from tuner.records import TEST, TRAIN_SAMPLE, VALIDATION
from tuner.storage.check_trials import RESTORE
from tuner.storage.findings import Check, Finding, check
from tuner.storage.inspection import Inspection
from tuner.storage.rows import spec_of

_WHOLE = (TRAIN_SAMPLE, VALIDATION)
"""Splits of which a trial that ends well has a value at each of its steps."""

OVERFLOWING_LOSS = 700.0
"""exp() of more is not finite: the perplexity of such a loss has no row."""


def check_curves(study: Inspection) -> Check:
    """Every trial's rows are at its own steps, of the same metrics at each, and measured by whom they should be."""
    findings, notes = [], [f"{sum(len(rows) for rows in study.evals.values()):,} rows"]
    for trial in study.trials:
        findings += [*_cadence_findings(study, trial), *_shared_findings(study, trial)]
        lost = [step for steps in missing_steps(study, trial).values() for step in steps]
        if lost and _is_measured_again(study, trial, lost):
            notes.append(f"trial {trial.id} goes on from step {study.start_of(trial.id):,}, and lacks rows after it")
    return check("curves", len(study.trials), findings, notes=notes)


def missing_steps(study: Inspection, trial: Row[Any]) -> dict[tuple[str, str], list[int]]:
    """The steps at which a trial lacks a row that it ought to have, by curve."""
    if trial.outcome == "infeasible":
        return {}
    own, found = _own_steps(trial), _by_step(study, trial)
    curves = sorted({curve for at_step in found.values() for curve in at_step if curve[0] in _WHOLE})
    missing: dict[tuple[str, str], list[int]] = defaultdict(list)
    for step in own:
        at_step = found.get(step, {})
        for split, metric in curves or [("any split", "every metric")]:
            is_overflow = metric == "perplexity" and at_step.get((split, "loss"), 0.0) > OVERFLOWING_LOSS
            if (split, metric) not in at_step and not is_overflow:
                missing[split, metric].append(step)
    return missing


def _own_steps(trial: Row[Any]) -> list[int]:
    return [step for step in spec_of(trial.spec).eval_steps() if step <= trial.last_step]


def _by_step(study: Inspection, trial: Row[Any]) -> dict[int, dict[tuple[str, str], float]]:
    found: dict[int, dict[tuple[str, str], float]] = defaultdict(dict)
    for row in study.evals.get(trial.id, ()):
        if row.split != TEST:
            found[row.global_step][row.split, row.metric] = row.value
    return found


def _is_measured_again(study: Inspection, trial: Row[Any], steps: list[int]) -> bool:
    """Whether the next attempt begins before all of these steps, and so measures them."""
    return trial.state != "ended" and min(steps) > study.start_of(trial.id)


def _cadence_findings(study: Inspection, trial: Row[Any]) -> Iterator[Finding]:
    subject = f"trial {trial.id}"
    # A target that was raised leaves its last step, until the next attempt begins.
    extra = sorted(set(_by_step(study, trial)) - set(_own_steps(trial)) - {trial.last_step})
    if extra:
        problem = f"has rows at {_steps(extra)}, where it is not evaluated"
        yield Finding(subject=subject, problem=problem, mend="drop_rows", target=trial.id)
    for (split, metric), steps in missing_steps(study, trial).items():
        if not _is_measured_again(study, trial, steps):
            yield _missing_finding(study, trial, f"{metric} on {split} is missing at {_steps(steps)}", steps=steps)
    test_steps = {row.global_step for row in study.evals.get(trial.id, ()) if row.split == TEST}
    if len(test_steps) > 1:
        yield Finding(subject=subject, problem=f"has test scores at {_steps(sorted(test_steps))}", remedy=RESTORE)


def _missing_finding(study: Inspection, trial: Row[Any], problem: str, *, steps: list[int]) -> Finding:
    subject = f"trial {trial.id}"
    if trial.forked_from_step is not None and max(steps) <= trial.forked_from_step:
        donor = study.evals.get(trial.forked_from_trial, ())
        if {row.global_step for row in donor}.issuperset(steps):
            return Finding(subject=subject, problem=problem, mend="copy_rows", target=trial.id)
    if trial.state != "ended":
        return Finding(subject=subject, problem=problem, mend="go_back", target=trial.id)
    return Finding(subject=subject, problem=problem, remedy=RESTORE)


def _shared_findings(study: Inspection, trial: Row[Any]) -> Iterator[Finding]:
    forked_at = trial.forked_from_step or 0
    strange, differing = [], []
    for row in study.evals.get(trial.id, ()):
        if row.split == TEST:
            continue
        is_own = row.measured_by_trial == trial.id
        # Own ones before the fork are no contradiction: a run that lost its states forks from one that forked from it.
        if not is_own and row.global_step > forked_at:
            strange.append(row.global_step)
        if not is_own:
            original = study.donated.get((row.measured_by_trial, row.split, row.metric, row.global_step))
            if original is not None and (original.value, original.eval_key) != (row.value, row.eval_key):
                differing.append(row.global_step)
    subject = f"trial {trial.id}"
    if strange:
        told = f"forked at step {forked_at:,}" if forked_at else "is no fork"
        problem = f"{told}, but who measured it at {_steps(sorted(set(strange)))} says otherwise"
        yield Finding(subject=subject, problem=problem, remedy=RESTORE)
    if differing:
        problem = f"took over rows at {_steps(sorted(set(differing)))} that differ from those of who measured them"
        yield Finding(subject=subject, problem=problem, remedy=RESTORE)


def _steps(steps: list[int]) -> str:
    told = ", ".join(f"{step:,}" for step in steps[:5])
    more = f" and {len(steps) - 5} more" if len(steps) > 5 else ""
    return f"step{'s' if len(steps) > 1 else ''} {told}{more}"
