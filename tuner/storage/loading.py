"""Reads a whole study in one consistent transaction, in a handful of queries whatever its size.

Rule: no query per trial. Rows are fetched first and made into records after the transaction, so that readers hold
writers up as briefly as they can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from tuner.records import Curve, Decision, PhaseRecord, StudyRecord, TrialRecord
from tuner.storage.rows import plan_of, trial_of
from tuner.storage.studies import answer_of, find
from tuner.storage.tables import decisions, evals, numerics, phases, studies, trials


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRows:
    """All rows of one study, as they stood at one moment."""

    study: Row[Any]
    phases: Sequence[Row[Any]]
    trials: Sequence[Row[Any]]
    decisions: Sequence[Row[Any]]
    evals: Sequence[tuple[int, str, str, int, float]]
    numerics: Sequence[tuple[int, str]]


def fetch(
    connection: Connection, name: str, *, with_curves: bool, only_trials: Sequence[int] | None = None
) -> StudyRows:
    """The rows of a study; `evals` are (trial, split, metric, step, value) in that order.

    Raises:
        StudyError: if there is no such study.
    """
    study = find(connection, name)
    own = trials.c.study_id == study.id
    if only_trials is not None:
        own &= trials.c.id.in_(only_trials)
    return StudyRows(
        study=study,
        phases=connection.execute(select(phases).where(phases.c.study_id == study.id).order_by(phases.c.ordinal)).all(),
        trials=connection.execute(select(trials).where(own).order_by(trials.c.number)).all(),
        decisions=connection.execute(
            select(decisions).where(decisions.c.study_id == study.id).order_by(decisions.c.ordinal)
        ).all(),
        evals=fetch_evals(connection, study.id) if with_curves else (),
        numerics=_fetch_numerics(connection, study.id),
    )


def fetch_states(connection: Connection, name: str) -> Sequence[tuple[Any, ...]]:
    """Of each trial of a study its id and all that may change of it, in the order of their numbers.

    Without the two columns that are written once, which hold most of a row; as the driver's own tuples, for they are
    only compared.
    """
    study = select(studies.c.id).where(studies.c.name == name).scalar_subquery()
    changing = [column for column in trials.c if column.name not in ("id", "params", "spec")]
    statement = select(trials.c.id, *changing).where(trials.c.study_id == study).order_by(trials.c.number)
    return _tuples(connection, statement)


def records_of(rows: StudyRows) -> list[TrialRecord]:
    """The records of the trials among the rows."""
    names = {phase.id: phase.name for phase in rows.phases}
    return [trial_of(row, names[row.phase_id]) for row in rows.trials]


def build(rows: StudyRows, records: Sequence[TrialRecord] | None = None) -> StudyRecord:
    """The record of a study; of its trials those given, or those of the rows."""
    by_phase: dict[str, list[TrialRecord]] = {phase.name: [] for phase in rows.phases}
    for trial in records_of(rows) if records is None else records:
        by_phase[trial.phase].append(trial)
    return StudyRecord(
        name=rows.study.name,
        state=rows.study.state,
        reason=rows.study.reason,
        answer=answer_of(rows.study),
        phases=tuple(
            PhaseRecord(
                plan=plan_of(phase.plan),
                trials=tuple(by_phase[phase.name]),
                is_closed=phase.is_closed,
                verdict=phase.verdict,
                reason=phase.reason,
            )
            for phase in rows.phases
        ),
        decisions=tuple(
            Decision(kind=row.kind, reason=row.reason, phase=row.phase, numbers=json.loads(row.numbers))
            for row in rows.decisions
        ),
        curves=curves_of(rows.evals),
        sharing=_sharing(rows.numerics),
    )


def _fetch_numerics(connection: Connection, study: int) -> Sequence[tuple[int, str]]:
    statement = select(numerics.c.trial_id, numerics.c.segment).join(trials, trials.c.id == numerics.c.trial_id)
    return [(row.trial_id, row.segment) for row in connection.execute(statement.where(trials.c.study_id == study))]


def _sharing(segments: Sequence[tuple[int, str]]) -> str:
    is_mixed = len({trial for trial, _ in segments}) < len(segments)
    distinct = {segment for _, segment in segments}
    is_exact = all(json.loads(segment).get("deterministic_algorithms", True) for segment in distinct)
    return "exact" if is_exact and not is_mixed else "statistical"


def fetch_evals(
    connection: Connection, study: int, *, only: Sequence[int] | None = None
) -> Sequence[tuple[int, str, str, int, float]]:
    """All evaluations of a study, or of some of its trials, by trial, split, metric and step."""
    own = select(trials.c.id).where(trials.c.study_id == study)
    statement = (
        select(evals.c.trial_id, evals.c.split, evals.c.metric, evals.c.global_step, evals.c.value)
        .where(evals.c.trial_id.in_(own if only is None else only))
        .order_by(evals.c.trial_id, evals.c.split, evals.c.metric, evals.c.global_step)
    )
    return _tuples(connection, statement)


def _tuples(connection: Connection, statement: Select[Any]) -> Sequence[Any]:
    """Rows as the driver's own tuples: a million cost half as much as SQLAlchemy's. For columns without conversion."""
    cursor = connection.execute(statement).cursor
    assert cursor is not None
    return cursor.fetchall()


def curves_of(
    rows: Sequence[tuple[int, str, str, int, float]],
) -> Mapping[int, Mapping[tuple[str, str], Curve]]:
    """Curves by trial from rows in the order of `fetch_evals`."""
    point = itemgetter(3, 4)
    curves: dict[int, dict[tuple[str, str], Curve]] = {}
    for (trial, split, metric), of_curve in groupby(rows, key=itemgetter(0, 1, 2)):
        curves.setdefault(trial, {})[split, metric] = tuple(map(point, of_curve))
    return MappingProxyType({trial: MappingProxyType(own) for trial, own in curves.items()})
