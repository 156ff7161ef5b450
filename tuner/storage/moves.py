"""Applies one move of the protocol: what it opens, adds, raises, closes or concludes, and the decisions behind it.

Rule: a move is one transaction; a study is never found between two of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from tuner.records import (
    AddTrials,
    ClosePhase,
    Conclude,
    Decision,
    EndTrials,
    GiveUp,
    Move,
    OpenPhase,
    Outcome,
    RaiseTarget,
    TrialPlan,
    Wait,
)
from tuner.storage import attempts, checkpoints, endings, evaluations, retention
from tuner.storage.clock import timestamp
from tuner.storage.record_json import to_json
from tuner.storage.rows import dump, plan_of, spec_of
from tuner.storage.tables import decisions, phases, studies, trials


def apply(connection: Connection, study: int, move: Move) -> list[str]:
    """Commit a move to a study; the paths of checkpoints to unlink after the commit.

    Raises:
        ValueError: for a move that cannot be meant: a phase without trials, a phase or trial that is not there.
    """
    gone: list[str] = []
    match move:
        case Wait():
            return gone
        case OpenPhase():
            _open_phase(connection, study, move)
        case AddTrials():
            phase = _open(connection, study, move.phase)
            _add_trials(connection, phase, move.trials)
        case RaiseTarget():
            _raise_target(connection, _open(connection, study, move.phase), move)
        case EndTrials():
            _end_trials(connection, _open(connection, study, move.phase), move)
        case ClosePhase():
            gone = _close_phase(connection, _open(connection, study, move.phase), move)
        case Conclude():
            answer = to_json(move.answer)
            connection.execute(
                update(studies).where(studies.c.id == study).values(state="finished", reason=None, answer=answer)
            )
            gone = retention.keep_answer_only(connection, _name(connection, study))
        case GiveUp():
            connection.execute(
                update(studies).where(studies.c.id == study).values(state="no_answer", reason=move.reason)
            )
            gone = _close_without_answer(connection, study, move)
    _add_decisions(connection, study, move.decisions)
    return gone


def _name(connection: Connection, study: int) -> str:
    return str(connection.execute(select(studies.c.name).where(studies.c.id == study)).scalar_one())


def _open_phase(connection: Connection, study: int, move: OpenPhase) -> None:
    if not move.trials:
        wanted = f"{move.num_points} points to be filled in" if move.num_points else "no trials"
        raise ValueError(f"phase {move.plan.name} has {wanted}; open it with its trials")
    ordinal = connection.execute(
        select(func.count()).select_from(phases).where(phases.c.study_id == study)
    ).scalar_one()
    connection.execute(
        insert(phases).values(
            study_id=study,
            ordinal=ordinal,
            name=move.plan.name,
            kind=move.plan.kind,
            max_train_steps=move.plan.max_train_steps,
            plan=to_json(move.plan),
            is_closed=False,
            opened_at=timestamp(connection),
        )
    )
    _add_trials(connection, _open(connection, study, move.plan.name), move.trials)


def _add_trials(connection: Connection, phase: Row[Any], plans: Iterable[TrialPlan]) -> None:
    values = [
        {
            "study_id": phase.study_id,
            "phase_id": phase.id,
            "number": plan.number,
            "params": dump(plan.params),
            "spec": to_json(plan.spec),
            "state": "waiting",
            "max_train_steps": plan.spec.max_train_steps,
        }
        for plan in plans
    ]
    if values:
        connection.execute(insert(trials), values)


def _raise_target(connection: Connection, phase: Row[Any], move: RaiseTarget) -> None:
    rows = _trials(connection, phase)
    for trial in move.trials:
        row = rows.get(trial)
        if row is None or row.state != "paused":
            found = "not there" if row is None else row.state
            raise ValueError(
                f"trial {trial} of {phase.name} is {found}; only a paused trial can be given a larger target"
            )
        spec = replace(spec_of(row.spec), max_train_steps=move.max_train_steps)
        connection.execute(
            update(trials)
            .where(trials.c.id == trial)
            .values(state="waiting", spec=to_json(spec), max_train_steps=spec.max_train_steps)
        )
        # The last step of the shorter target is none of this run's, unless its cadence meets it (D7).
        evaluations.keep_only(connection, trial, spec.eval_steps())
        evaluations.summarise(connection, trial, plan_of(phase.plan).eval)
    target = max(phase.max_train_steps, move.max_train_steps)
    plan = replace(plan_of(phase.plan), max_train_steps=target)
    connection.execute(update(phases).where(phases.c.id == phase.id).values(max_train_steps=target, plan=to_json(plan)))


def _end_trials(connection: Connection, phase: Row[Any], move: EndTrials) -> None:
    rows = _trials(connection, phase)
    for trial, outcome in move.outcomes.items():
        row = rows.get(trial)
        if row is None or row.state != "ended":
            found = "not there" if row is None else row.state
            raise ValueError(f"trial {trial} of {phase.name} is {found}; only an ended trial gets another outcome")
        endings.end(connection, trial, outcome, weights_digest=row.weights_digest)


def _close_phase(connection: Connection, phase: Row[Any], move: ClosePhase) -> list[str]:
    rows = _trials(connection, phase)
    strangers = set(move.outcomes) - set(rows)
    if strangers:
        raise ValueError(f"trials {sorted(strangers)} are not of {phase.name}")
    gone = []
    for trial, row in rows.items():
        outcome, digest = move.outcomes.get(trial), row.weights_digest
        if move.truncate_at is not None and row.last_step > move.truncate_at:
            gone += _truncate(connection, trial, move.truncate_at)
            outcome, digest = outcome or Outcome("stopped", "dominated"), None
        if outcome is not None:
            # A worker that still runs it has lost its lease by this; its next write says so.
            attempts.end(connection, trial, epoch=row.lease_epoch, how="closed")
            endings.end(connection, trial, outcome, weights_digest=digest)
    connection.execute(
        update(phases)
        .where(phases.c.id == phase.id)
        .values(
            is_closed=True,
            verdict=move.verdict,
            reason=move.reason,
            stop_step=move.truncate_at,
            closed_at=timestamp(connection),
        )
    )
    return gone


def _close_without_answer(connection: Connection, study: int, move: GiveUp) -> list[str]:
    """Nothing of a study that ended may look as if it were still to come."""
    gone: list[str] = []
    still_open = select(phases).where(phases.c.study_id == study, phases.c.is_closed.is_(False))
    for phase in connection.execute(still_open).all():
        unended = [trial for trial, row in _trials(connection, phase).items() if row.state != "ended"]
        outcomes = {trial: Outcome("stopped", "no answer") for trial in unended}
        close = ClosePhase(phase=phase.name, verdict="no answer", reason=move.reason, outcomes=outcomes)
        gone += _close_phase(connection, phase, close)
    return gone


def _truncate(connection: Connection, trial: int, step: int) -> list[str]:
    """Cut a trial's record at `step`: what it overshot in parallel must not show, or results would depend on timing."""
    evaluations.delete_beyond(connection, trial, step)
    connection.execute(update(trials).where(trials.c.id == trial).values(last_step=step))
    return checkpoints.delete_beyond(connection, trial, step)


def _add_decisions(connection: Connection, study: int, made: Iterable[Decision]) -> None:
    first = connection.execute(
        select(func.count()).select_from(decisions).where(decisions.c.study_id == study)
    ).scalar_one()
    at = timestamp(connection)
    values = [
        {
            "study_id": study,
            "phase": decision.phase,
            "ordinal": first + index,
            "kind": decision.kind,
            "reason": decision.reason,
            "numbers": dump(decision.numbers),
            "created_at": at,
        }
        for index, decision in enumerate(made)
    ]
    if values:
        connection.execute(insert(decisions), values)


def _open(connection: Connection, study: int, name: str) -> Row[Any]:
    row = connection.execute(select(phases).where(phases.c.study_id == study, phases.c.name == name)).one_or_none()
    if row is None or row.is_closed:
        raise ValueError(f"phase {name} is {'not there' if row is None else 'closed'}")
    return row


def _trials(connection: Connection, phase: Row[Any]) -> dict[int, Row[Any]]:
    rows = connection.execute(select(trials).where(trials.c.phase_id == phase.id).order_by(trials.c.number))
    return {row.id: row for row in rows}
