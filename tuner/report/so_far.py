"""The best of a study at any time, chosen by the very rule that will choose the answer.

The protocol is imported only where there is no answer yet: what it needs of the config costs a third of `tuner status`.
"""

from __future__ import annotations

from dataclasses import replace

from tuner.protocol.joined import joined
from tuner.records import Answer, PhaseRecord, StudyRecord

NOT_JUDGED = "not judged yet"


def answer_so_far(study: StudyRecord) -> Answer | None:
    """The answer, or what it would be if the study ended now; None before any trial of round 1 was feasible."""
    if study.answer is not None:
        return study.answer
    from tuner.protocol.answer import conclude
    from tuner.protocol.rounds import feasible

    study = joined(study)
    rounds = [phase for phase in study.phases if phase.plan.kind == "round_1"]
    if not any(feasible(phase) for phase in rounds):
        return None
    found = conclude(study, sharing=study.sharing).answer
    return found if any(phase.verdict for phase in rounds) else replace(found, verdict=NOT_JUDGED)


def later_round(study: StudyRecord) -> PhaseRecord | None:
    """The round that produced the answer, or the best so far, unless that is round 1."""
    found = answer_so_far(study)
    phases = [
        phase
        for phase in joined(study).phases
        if found is not None and any(trial.trial == found.best_trial for trial in phase.trials)
    ]
    return next((phase for phase in phases if phase.plan.kind != "round_1"), None)
