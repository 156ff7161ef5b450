"""What a study's database holds, and whether it keeps its promises by itself, read without the code under test.

The one rule: plain SQL and the files; the program's own records are used for two things only, the bill and a spec's
evaluation steps.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What must be equal, whatever was done to a study."""

    trials: list[Row]
    evaluations: list[Row]
    decisions: list[Row]
    answer: dict[str, Any] | None


TRIALS = """
select phases.name, number, params, spec, trials.state, outcome, trials.reason, trials.max_train_steps, last_step,
  best_step, best_value, last_value, first_good_step, num_evals, num_skipped_updates, weights_digest
from tuner_trials trials join tuner_phases phases on phases.id = phase_id order by phases.ordinal, number
"""
EVALUATIONS = """
select phases.name, number, split, metric, global_step, value
from tuner_evals join tuner_trials trials on trials.id = trial_id join tuner_phases phases on phases.id = phase_id
order by phases.ordinal, number, split, metric, global_step
"""
DECISIONS = "select ordinal, phase, kind, reason from tuner_decisions order by ordinal"
ANSWER = "select answer from tuner_studies"


def read_rows(database: Path) -> Rows:
    """Trials, curves, decisions and answer of a database with one study."""
    with closing(_open(database)) as connection:
        answer = connection.execute(ANSWER).fetchone()[0]
        return Rows(
            trials=connection.execute(TRIALS).fetchall(),
            evaluations=connection.execute(EVALUATIONS).fetchall(),
            decisions=connection.execute(DECISIONS).fetchall(),
            answer=None if answer is None else json.loads(answer),
        )


def count_writes(database: Path) -> int:
    """Evaluations and checkpoints that were ever committed, as far as their rows tell; 0 without a database."""
    if not database.exists():
        return 0
    with closing(_open(database)) as connection:
        try:
            evals = connection.execute("select count(distinct trial_id || '/' || global_step) from tuner_evals")
            files = connection.execute(
                "select coalesce(max(seq), 0) from sqlite_sequence where name = 'tuner_checkpoints'"
            )
            return int(evals.fetchone()[0]) + int((files.fetchone() or (0,))[0])
        except sqlite3.OperationalError:
            return 0


@dataclass(frozen=True, slots=True)
class Lost:
    """A trial that a worker held, or holds."""

    trial: int
    epoch: int
    pid: int


def held_trials(home: Path) -> list[Lost]:
    """Who trains what at the moment."""
    if not (home / "tuner.db").exists():
        return []
    held = "select id, lease_epoch, lease_owner from tuner_trials where lease_owner is not null order by id"
    with closing(_open(home / "tuner.db")) as connection:
        try:
            rows = connection.execute(held).fetchall()
        except sqlite3.OperationalError:
            return []
    return [Lost(trial, epoch, json.loads(owner)["pid"]) for trial, epoch, owner in rows]


@dataclass(frozen=True, slots=True)
class Written:
    """What a trial's lost owner has written, by the columns that bear its epoch."""

    attempt: Row
    files: frozenset[int]

    def has_grown_since(self, before: Written) -> bool:
        """Whether something was written since; files that the new owner has dropped are none of the old one's doing."""
        return self.attempt != before.attempt or not self.files <= before.files


def writes_of(home: Path, lost: Lost) -> Written:
    """What the owner of that epoch has written so far."""
    place = (lost.trial, lost.epoch)
    with closing(_open(home / "tuner.db")) as connection:
        columns = "select from_step, to_step, seconds_train, how_ended from tuner_attempts"
        attempt = connection.execute(f"{columns} where trial_id = ? and lease_epoch = ?", place).fetchone()
        files = "select id from tuner_checkpoints where trial_id = ? and lease_epoch = ?"
        return Written(attempt, frozenset(file for (file,) in connection.execute(files, place)))


def newest_epoch(home: Path, trial: int) -> int:
    """The epoch of the latest attempt at a trial."""
    with closing(_open(home / "tuner.db")) as connection:
        query = "select coalesce(max(lease_epoch), 0) from tuner_attempts where trial_id = ?"
        return int(connection.execute(query, (trial,)).fetchone()[0])


def require_sound(home: Path, *, every: int) -> None:
    """A finished study keeps its own promises.

    Raises:
        AssertionError: a trial without its outcome, a curve off its cadence, a file that is not what its row says,
            a trial that Optuna shows twice, more rework than `every` steps an attempt, or a bill that does not add up.
    """
    with closing(_open(home / "tuner.db")) as connection:
        assert connection.execute("select state, lease_owner from tuner_studies").fetchall() == [("finished", None)]
        unended = "select id from tuner_trials where state != 'ended' or outcome is null or lease_owner is not null"
        assert connection.execute(unended).fetchall() == []
        crashed = connection.execute("select id, reason from tuner_trials where outcome = 'crashed'").fetchall()
        assert crashed == []
        _require_cadence(connection)
        _require_files(connection, home)
        _require_mirrored_once(connection)
        _require_little_rework(connection, every)
    _require_bill(home)


def _require_cadence(connection: sqlite3.Connection) -> None:
    from tuner.records import RunSpec
    from tuner.storage.record_json import from_json

    steps: dict[int, dict[tuple[str, str], list[int]]] = defaultdict(lambda: defaultdict(list))
    rows = "select trial_id, split, metric, global_step from tuner_evals where split != 'test' order by 1, 2, 3, 4"
    for trial, split, metric, step in connection.execute(rows):
        steps[trial][split, metric].append(step)
    for trial, spec, last_step in connection.execute("select id, spec, last_step from tuner_trials"):
        due = [step for step in from_json(RunSpec, spec).eval_steps() if step <= last_step]
        for curve, found in steps[trial].items():
            assert found == due, f"trial {trial}, {curve}: evaluated at {found}, due at {due}"


def _require_files(connection: sqlite3.Connection, home: Path) -> None:
    for path, sha256 in connection.execute("select path, sha256 from tuner_checkpoints"):
        found = hashlib.sha256((home / path).read_bytes()).hexdigest()
        assert found == sha256, f"{path} is not what was written"
    unfounded = """
    select pins.checkpoint_id from tuner_pins pins left join tuner_checkpoints files on files.id = checkpoint_id
    where files.id is null
    """
    assert connection.execute(unfounded).fetchall() == []


def _require_mirrored_once(connection: sqlite3.Connection) -> None:
    shown = connection.execute("select value_json from trial_user_attributes where key = 'tuner_trial'").fetchall()
    ours = connection.execute("select id from tuner_trials").fetchall()
    assert sorted(int(value) for (value,) in shown) == sorted(trial for (trial,) in ours)


def _require_little_rework(connection: sqlite3.Connection, every: int) -> None:
    attempts: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for trial, start, end in connection.execute(
        "select trial_id, from_step, to_step from tuner_attempts order by trial_id, lease_epoch"
    ):
        attempts[trial].append((start, end))
    for trial, lives in attempts.items():
        for (_, died), (again, _) in pairwise(lives):
            assert died - again <= every, f"trial {trial} had committed step {died} and went on from {again}"


def _require_bill(home: Path) -> None:
    from tuner.storage.store import Store

    store = Store.open(None, home, create=False)
    try:
        bill = store.bill("toy")
    finally:
        store.close()
    assert bill["executed"] == bill["stage_tree"] + bill["recomputed"] + bill["overshoot"]
    assert min(bill["recomputed"], bill["overshoot"], bill["shared"]) >= 0, bill


def rework(home: Path) -> int:
    """Steps that were trained again, as the attempts tell."""
    with closing(_open(home / "tuner.db")) as connection:
        lives: Iterable[tuple[int, int, int]] = connection.execute(
            "select trial_id, from_step, to_step from tuner_attempts order by trial_id, lease_epoch"
        ).fetchall()
    return sum(max(0, one[2] - two[1]) for one, two in pairwise(lives) if one[0] == two[0])


def _open(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)
