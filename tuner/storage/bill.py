"""The bill of a study: steps asked for, steps carried out, and where the difference went (PROTOCOL.md 8).

Rule: `executed = stage_tree + recomputed + overshoot`. The stage tree is counted from the learning rates themselves,
never by formula: two steps are one if everything that shaped the weights before them agrees.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, select

from tuner.records import RunSpec
from tuner.storage.attempts import ACCOUNTS
from tuner.storage.idle import idle_seconds
from tuner.storage.rows import spec_of
from tuner.storage.studies import find
from tuner.storage.tables import attempts, numerics, trials

CHUNK_STEPS = 4096
"""Learning rates compared at a time: bounds memory whatever the length of the runs."""

Rates = Callable[[RunSpec, int, int], bytes]
"""The learning rates of updates start..stop-1 as float64 bytes."""


@dataclass(frozen=True, slots=True)
class Path:
    """The first `length` steps of a run; `static` is everything beside the learning rates that shaped its weights."""

    static: Hashable
    spec: RunSpec
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRows:
    """What a bill is made of."""

    trials: list[Row[Any]]
    attempts: list[Row[Any]]
    numerics: list[Row[Any]]
    idle_seconds: float


def fetch(connection: Connection, name: str) -> BillRows:
    """The rows of one study's bill.

    Raises:
        StudyError: if there is no such study.
    """
    study = find(connection, name).id
    own = select(trials.c.id).where(trials.c.study_id == study)
    return BillRows(
        trials=list(connection.execute(select(trials).where(trials.c.id.in_(own)))),
        attempts=list(connection.execute(select(attempts).where(attempts.c.trial_id.in_(own)))),
        numerics=list(
            connection.execute(
                select(numerics.c.trial_id, numerics.c.from_step, numerics.c.numerics_key)
                .where(numerics.c.trial_id.in_(own))
                .order_by(numerics.c.trial_id, numerics.c.from_step)
            )
        ),
        idle_seconds=idle_seconds(connection, study),
    )


def build(rows: BillRows) -> dict[str, Any]:
    """Steps by account, and `seconds` by account: what attempts spent, and `idle`, workers with nothing to train.

    requested: the lengths of all runs. shared: what they took over from another trial. executed: updates carried out.
    overshoot: of these, beyond the final last step of an ended trial. stage_tree: the fewest that could have done.
    recomputed: the rest, rework after crashes and what was not shared. Steps that another study carried out are in
    `shared`, not in `stage_tree`.
    """
    executed = sum(row.to_step - row.from_step for row in rows.attempts)
    spent = {account: sum(getattr(row, f"seconds_{account}") for row in rows.attempts) for account in ACCOUNTS}
    overshoot, stage_tree = _overshoot(rows), _stage_tree(rows)
    return {
        "requested": sum(row.last_step for row in rows.trials),
        "executed": executed,
        "shared": sum(min(row.forked_from_step or 0, row.last_step) for row in rows.trials),
        "recomputed": executed - stage_tree - overshoot,
        "overshoot": overshoot,
        "stage_tree": stage_tree,
        "seconds": {**spent, "idle": rows.idle_seconds},
    }


def distinct_steps(paths: Iterable[Path], rates: Rates) -> int:
    """The size of the tree of all runs: each step counted once for all runs that share their past up to it."""
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for path in paths:
        groups[path.static].append(path)
    total, open_groups = 0, [(0, group) for group in groups.values()]
    while open_groups:
        start, group = open_groups.pop()
        chunks: dict[bytes, list[Path]] = defaultdict(list)
        for path in group:
            chunks[rates(path.spec, start, min(start + CHUNK_STEPS, path.length))].append(path)
        total += _num_prefixes(sorted(chunks))
        for chunk, members in chunks.items():
            longer = [path for path in members if path.length > start + CHUNK_STEPS]
            if len(chunk) == 8 * CHUNK_STEPS and longer:
                open_groups.append((start + CHUNK_STEPS, longer))
    return total


def _num_prefixes(chunks: list[bytes]) -> int:
    """Distinct prefixes, in steps of eight bytes, of chunks in sorted order: neighbours share the most."""
    return sum(len(chunk) // 8 for chunk in chunks) - sum(_num_shared(one, other) for one, other in pairwise(chunks))


def _num_shared(one: bytes, other: bytes) -> int:
    length = min(len(one), len(other)) // 8
    differs = np.frombuffer(one, np.uint64, length) != np.frombuffer(other, np.uint64, length)
    return int(differs.argmax()) if differs.any() else length


def _stage_tree(rows: BillRows) -> int:
    own = {row.id for row in rows.trials}
    statics = _statics(rows)
    begun = [row for row in rows.trials if row.static_digest is not None and row.last_step > 0]
    paths = [Path(statics[row.id], spec_of(row.spec), row.last_step) for row in begun]
    elsewhere = [
        Path(statics[row.id], spec_of(row.spec), min(row.forked_from_step, row.last_step))
        for row in begun
        if row.forked_from_trial is not None and row.forked_from_trial not in own
    ]
    return distinct_steps(paths, _rates) - distinct_steps(elsewhere, _rates)


def _statics(rows: BillRows) -> dict[int, Hashable]:
    """Static digest and numerics of each trial; a trial that changed its numerics shares with none but its equals."""
    segments: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for row in rows.numerics:
        segments[row.trial_id].append((row.from_step, row.numerics_key))
    statics: dict[int, Hashable] = {}
    for row in rows.trials:
        own = segments[row.id]
        keys = {key for _, key in own}
        statics[row.id] = (row.static_digest, *keys) if len(keys) == 1 else (row.static_digest, *own)
    return statics


def _overshoot(rows: BillRows) -> int:
    """Steps of ended trials beyond their last step. Others may yet reach what an attempt lost."""
    last = {row.id: row.last_step for row in rows.trials if row.state == "ended"}
    return sum(
        max(0, row.to_step - max(row.from_step, last[row.trial_id])) for row in rows.attempts if row.trial_id in last
    )


def _rates(spec: RunSpec, start: int, stop: int) -> bytes:
    from tuner.training.schedule import learning_rates

    return learning_rates(spec, start, stop).tobytes()
