"""Reads a whole study in one consistent transaction, in a handful of queries whatever its size.

Rule: no query per trial. Rows are fetched first and made into records after the transaction, so that readers hold
writers up as briefly as they can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, select

from tuner.records import Curve, Decision, PhaseRecord, StudyRecord, TrialRecord
from tuner.storage.rows import plan_of, trial_of
from tuner.storage.studies import answer_of, find
from tuner.storage.tables import decisions, evals, numerics, phases, trials


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRows:
    """All rows of one study, as they stood at one moment."""

    study: Row[Any]
    phases: Sequence[Row[Any]]
    trials: Sequence[Row[Any]]
    decisions: Sequence[Row[Any]]
    evals: Sequence[tuple[int, str, str, int, float]]
    numerics: Sequence[tuple[int, str]]


def fetch(connection: Connection, name: str, *, with_curves: bool) -> StudyRows:
    """The rows of a study; `evals` are (trial, split, metric, step, value) in that order.

    Raises:
        StudyError: if there is no such study.
    """
    study = find(connection, name)
    return StudyRows(
        study=study,
        phases=connection.execute(select(phases).where(phases.c.study_id == study.id).order_by(phases.c.ordinal)).all(),
        trials=connection.execute(select(trials).where(trials.c.study_id == study.id).order_by(trials.c.number)).all(),
        decisions=connection.execute(
            select(decisions).where(decisions.c.study_id == study.id).order_by(decisions.c.ordinal)
        ).all(),
        evals=fetch_evals(connection, study.id) if with_curves else (),
        numerics=_fetch_numerics(connection, study.id),
    )


def build(rows: StudyRows, *, trial: Callable[[Row[Any], str], TrialRecord] = trial_of) -> StudyRecord:
    """The record of a study; `trial` makes that of a trial from its row and its phase's name."""
    names = {phase.id: phase.name for phase in rows.phases}
    by_phase: dict[int, list[Any]] = {phase.id: [] for phase in rows.phases}
    for row in rows.trials:
        by_phase[row.phase_id].append(trial(row, names[row.phase_id]))
    return StudyRecord(
        name=rows.study.name,
        state=rows.study.state,
        reason=rows.study.reason,
        answer=answer_of(rows.study),
        phases=tuple(
            PhaseRecord(
                plan=plan_of(phase.plan),
                trials=tuple(by_phase[phase.id]),
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
    is_exact = all(json.loads(segment).get("deterministic_algorithms", True) for _, segment in segments)
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
    # The driver's own tuples: a million rows cost half as much as SQLAlchemy's, and no column needs conversion.
    cursor = connection.execute(statement).cursor
    assert cursor is not None
    fetched: Sequence[tuple[int, str, str, int, float]] = cursor.fetchall()
    return fetched


def curves_of(
    rows: Sequence[tuple[int, str, str, int, float]],
) -> Mapping[int, Mapping[tuple[str, str], Curve]]:
    """Curves by trial from rows in the order of `fetch_evals`."""
    point = itemgetter(3, 4)
    curves: dict[int, dict[tuple[str, str], Curve]] = {}
    for (trial, split, metric), of_curve in groupby(rows, key=itemgetter(0, 1, 2)):
        curves.setdefault(trial, {})[split, metric] = tuple(map(point, of_curve))
    return MappingProxyType({trial: MappingProxyType(own) for trial, own in curves.items()})
