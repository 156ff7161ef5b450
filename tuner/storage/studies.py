"""Studies: their names, configs and states; the rows that everything else hangs on."""

from __future__ import annotations

import difflib
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from tuner import __version__
from tuner.errors import StudyError
from tuner.records import Answer, StudyState
from tuner.storage.clock import timestamp
from tuner.storage.record_json import from_json
from tuner.storage.rows import StudyRow
from tuner.storage.tables import decisions, studies


def create(connection: Connection, name: str, *, config: str, folder: str, command: str) -> None:
    """Store a new study in state "running".

    Raises:
        StudyError: if the name is taken.
    """
    if name in names(connection):
        raise StudyError(f"study {name!r} exists already; `tuner resume {name}` goes on with it, or give another name")
    connection.execute(
        insert(studies).values(
            name=name,
            state="running",
            config=config,
            folder=folder,
            command=command,
            tuner_version=__version__,
            created_at=timestamp(connection),
        )
    )


def names(connection: Connection) -> list[str]:
    """All studies, oldest first."""
    return list(connection.execute(select(studies.c.name).order_by(studies.c.id)).scalars())


def find(connection: Connection, name: str) -> Row[Any]:
    """The row of a study.

    Raises:
        StudyError: if there is none of that name; names what is there.
    """
    row = connection.execute(select(studies).where(studies.c.name == name)).one_or_none()
    if row is not None:
        return row
    known = names(connection)
    if not known:
        raise StudyError(f"there is no study {name!r}, nor any other yet; start one with `tuner run STUDY.yaml`")
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known[:10])}"
    raise StudyError(f"there is no study {name!r}; {hint}")


def decision_times(connection: Connection, name: str) -> list[str]:
    """When each decision of a study was committed, in their order."""
    at = select(decisions.c.created_at).where(decisions.c.study_id == find(connection, name).id)
    return [str(time) for time in connection.execute(at.order_by(decisions.c.ordinal)).scalars()]


def record(row: Row[Any]) -> StudyRow:
    """A row of `tuner_studies`."""
    return StudyRow(
        name=row.name,
        state=row.state,
        reason=row.reason,
        config=row.config,
        folder=row.folder,
        command=row.command,
        created_at=row.created_at,
        answer=answer_of(row),
    )


def answer_of(row: Row[Any]) -> Answer | None:
    """The answer in a row of `tuner_studies`."""
    return None if row.answer is None else from_json(Answer, row.answer)


def update_config(connection: Connection, name: str, config: str, *, folder: str | None = None) -> None:
    """Replace the config by one with accepted changes (D8), and the folder of its YAML if one is given.

    Raises:
        StudyError: if there is no such study.
    """
    row = find(connection, name)
    connection.execute(update(studies).where(studies.c.id == row.id).values(config=config, folder=folder or row.folder))


def set_state(connection: Connection, study: int, state: StudyState, *, reason: str | None = None) -> None:
    """Store where the study stands."""
    connection.execute(update(studies).where(studies.c.id == study).values(state=state, reason=reason))
