"""Which trial a command is about: the answer's, the best so far, or the one that the user names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.records import Answer, StudyRecord, TrialRecord


def chosen_answer(study: StudyRecord) -> Answer:
    """The answer, or the best so far.

    Raises:
        NoAnswer: the study ended without one.
        StudyError: it is too early to tell a best trial.
    """
    from tuner.errors import NoAnswer, StudyError
    from tuner.report.so_far import answer_so_far

    found = answer_so_far(study)
    if found is not None:
        return found
    if study.state == "no_answer":
        raise NoAnswer(f"{study.name} ended without an answer: {study.reason or 'no reason was stored'}")
    goes_on = "it is running, ask again" if study.state == "running" else f"`tuner resume {study.name}` goes on"
    raise StudyError(f"{study.name} has no best trial yet: no trial of round 1 has ended; {goes_on}")


def named_trial(study: StudyRecord, trial: int) -> TrialRecord:
    """The trial of an id.

    Raises:
        StudyError: the study has no such trial.
    """
    from tuner.errors import StudyError

    found = next((record for record in study.trials() if record.trial == trial), None)
    if found is None:
        raise StudyError(f"--trial={trial}: {study.name} has no such trial; `tuner trials {study.name}` lists them")
    return found
