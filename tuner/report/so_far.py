"""The best of a study at any time, chosen by the very rule that will choose the answer."""

from __future__ import annotations

from dataclasses import replace

from tuner.protocol.answer import conclude
from tuner.protocol.joined import joined
from tuner.protocol.rounds import feasible
from tuner.records import Answer, StudyRecord

NOT_JUDGED = "not judged yet"


def answer_so_far(study: StudyRecord) -> Answer | None:
    """The answer, or what it would be if the study ended now; None before any trial of round 1 was feasible."""
    if study.answer is not None:
        return study.answer
    study = joined(study)
    rounds = [phase for phase in study.phases if phase.plan.kind == "round_1"]
    if not any(feasible(phase) for phase in rounds):
        return None
    found = conclude(study, sharing=study.sharing).answer
    return found if any(phase.verdict for phase in rounds) else replace(found, verdict=NOT_JUDGED)
