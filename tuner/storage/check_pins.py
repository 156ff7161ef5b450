"""Whether every fork holds on to its donor's checkpoint, and nobody else holds anything.

Rule: the database itself refuses to drop a pinned row, so a donor's checkpoint without a row was set aside as damaged:
that is told, and is no contradiction. Whoever needs it trains those steps again.
"""

from __future__ import annotations

from collections.abc import Iterator

from tuner.storage.findings import Check, Finding, check
from tuner.storage.inspection import Inspection


def check_pins(study: Inspection) -> Check:
    """The pins of a study's trials."""
    forks = [trial for trial in study.trials if trial.forked_from_trial is not None]
    if study.leaders() is not None:
        # Nothing goes on from a study that keeps its answer only.
        return check("pins", len(forks), (), notes=["retention: answer, so no donor is kept"])
    gone = [trial for trial in forks if not _donors_file(study, trial.forked_from_trial, trial.forked_from_step)]
    notes = [
        f"trial {trial.id} forked from {trial.forked_from_trial}@{trial.forked_from_step:,}, which is no longer kept"
        for trial in gone
    ]
    return check("pins", len(forks), _pin_findings(study), notes=notes)


def _pin_findings(study: Inspection) -> Iterator[Finding]:
    for trial in study.trials:
        pinned = study.pinned_by(trial.id)
        subject = f"trial {trial.id}"
        if trial.forked_from_trial is None:
            if pinned:
                problem = f"is no fork, but pins {', '.join(file.path for file in pinned)}"
                yield Finding(subject=subject, problem=problem, mend="unpin", target=trial.id)
            continue
        wanted = _donors_file(study, trial.forked_from_trial, trial.forked_from_step)
        if wanted and not wanted & {file.id for file in pinned}:
            problem = f"does not pin what it forked from, {trial.forked_from_trial}@{trial.forked_from_step:,}"
            yield Finding(subject=subject, problem=problem, mend="pin", target=trial.id)


def _donors_file(study: Inspection, donor: int, step: int) -> set[int]:
    """The full states of a donor at a step."""
    return {file.id for file in study.donors if file.trial == donor and file.global_step == step}
