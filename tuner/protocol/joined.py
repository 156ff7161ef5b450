"""A phase that was extended, and what joined it, seen as one.

A closed phase stays closed: trials that `tuner extend` adds to it at its own budget have a phase of their own,
`round_1.added`, `round_1.added.2`, .... They are judged, ranked and carried on together with those that were there, so
the protocol looks at the study through `joined` and its moves go back through `as_stored`. A study that was never
extended is its own joined view.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, TypeVar

from tuner.records import (
    AddTrials,
    ClosePhase,
    Decision,
    EndTrials,
    Move,
    Outcome,
    PhaseRecord,
    StudyRecord,
    TrialRecord,
)

EXTENDED: Final = "extended"
"""The kind of decision that `tuner extend` makes."""

BROKEN_OFF: Final = ("study_hours", "no answer")
"""Why trials of a phase that was closed early have not trained to their end: they may yet."""

TAKEN_UP: Final = Outcome("stopped", "taken up again")
"""What a trial that was broken off counts as once another one trains the same run to its end."""

ADDED: Final = "added"
"""The kind of decision that opens a phase whose trials join another one, or adds what was asked for to an open one."""

_OPENINGS = ("round_opened", "adjusted", "decay_opened", ADDED)
_ADDED = re.compile(r"\.added(\.\d+)?$")
M = TypeVar("M", bound=AddTrials | ClosePhase | EndTrials)


def joined_name(name: str) -> str:
    """The phase that a phase belongs to.

    >>> joined_name("round_1.added.2"), joined_name("round_1.2")
    ('round_1', 'round_1.2')
    """
    return _ADDED.sub("", name)


def joined(study: StudyRecord) -> StudyRecord:
    """The study with each extended phase as one, under its first name; a trial's `phase` still says where it stands.

    Trials are numbered through. Verdicts are those last decided: a round may be judged again from more evidence.
    """
    if not is_extended(study):
        return study
    parts: dict[str, list[PhaseRecord]] = {}
    for phase in study.phases:
        parts.setdefault(joined_name(phase.name), []).append(phase)
    first = {
        part.name: sum(len(each.trials) for each in own[:place])
        for own in parts.values()
        for place, part in enumerate(own)
    }
    decisions = tuple(_renamed(decision, first) for decision in study.decisions)
    phases = tuple(_judged(_one(own), decisions) for own in parts.values())
    return replace(study, phases=phases, decisions=decisions)


def as_stored(view: StudyRecord, move: Move) -> Move:
    """A move made on the joined view, about the phase that is open in storage."""
    match move:
        case AddTrials() | ClosePhase() | EndTrials():
            return _about(move, open_part(view.phase(move.phase)))
    return move


def is_extended(study: StudyRecord) -> bool:
    """Whether the study was ever extended."""
    return any(decision.kind == EXTENDED for decision in study.decisions)


def is_extended_since(study: StudyRecord, phase: PhaseRecord) -> bool:
    """Whether the study was extended after a phase, or what last joined it, was opened."""
    extended = opened = -1
    for place, decision in enumerate(study.decisions):
        if decision.kind == EXTENDED:
            extended = place
        elif decision.kind in _OPENINGS and decision.phase == phase.name:
            opened = place
    return extended > opened


def parts_of(phase: PhaseRecord) -> list[str]:
    """The stored phases that a joined one is made of, in their order."""
    return list(dict.fromkeys(trial.phase for trial in phase.trials))


def open_part(phase: PhaseRecord) -> str:
    """The last of the stored phases that a joined one is made of."""
    return phase.trials[-1].phase if phase.trials else phase.name


def next_part(phase: PhaseRecord) -> str:
    """The name of the next phase whose trials join this one."""
    count = len(parts_of(phase))
    return f"{phase.name}.added" if count == 1 else f"{phase.name}.added.{count}"


def is_broken_off(trial: TrialRecord) -> bool:
    """Whether a trial ended before its last step for want of time, and nothing has taken it up again."""
    return trial.outcome is not None and trial.outcome.reason in BROKEN_OFF


def is_taken_up(trial: TrialRecord) -> bool:
    """Whether another trial stands for this one."""
    return trial.outcome == TAKEN_UP


def _about(move: M, part: str) -> M:
    if part == move.phase:
        return move
    decisions = tuple(replace(d, phase=part) if d.phase == move.phase else d for d in move.decisions)
    return replace(move, phase=part, decisions=decisions)


def _one(parts: list[PhaseRecord]) -> PhaseRecord:
    if len(parts) == 1:
        return parts[0]
    last, trials = parts[-1], [trial for part in parts for trial in part.trials]
    again = {_run(trial): trial.trial for trial in trials}
    numbered = tuple(
        replace(trial, number=number, outcome=TAKEN_UP if _is_superseded(trial, again) else trial.outcome)
        for number, trial in enumerate(trials)
    )
    return replace(parts[0], trials=numbered, is_closed=last.is_closed, verdict=last.verdict, reason=last.reason)


def _is_superseded(trial: TrialRecord, again: dict[object, int]) -> bool:
    return is_broken_off(trial) and again[_run(trial)] != trial.trial


def _run(trial: TrialRecord) -> object:
    return tuple(sorted(trial.params.items(), key=str)), trial.spec.seed


def _renamed(decision: Decision, first: dict[str, int]) -> Decision:
    """A decision as one about the joined phase, whose trials have other numbers."""
    if decision.phase is None or joined_name(decision.phase) == decision.phase:
        return decision
    numbers = dict(decision.numbers)
    if numbers.get("twin") is not None:
        numbers["twin"] += first[decision.phase]
    return replace(decision, phase=joined_name(decision.phase), numbers=numbers)


def _judged(phase: PhaseRecord, decisions: tuple[Decision, ...]) -> PhaseRecord:
    """A closed phase with the verdict that was last decided on it."""
    told = [d for d in decisions if d.kind == "verdict" and d.phase == phase.name and "verdict" in d.numbers]
    if not phase.is_closed or not told:
        return phase
    return replace(phase, verdict=str(told[-1].numbers["verdict"]), reason=told[-1].reason)
