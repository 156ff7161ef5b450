"""Which trial goes first, and which waits, where several share their past (D4).

Rule: a trial waits only for a running one on its way to a state that it could start from, deeper than any there is;
whatever ends that run frees it. Among those that wait for nobody, the one whose states serve most others goes first.
Runs of one study share a past where their specs agree but for the horizon, as far as their rates do; in the end the
recipe key decides, which only workers know.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, select

from tuner.storage.rows import dump, plan_of, spec_of
from tuner.storage.tables import checkpoints, phases, trials

_HORIZON = ("max_train_steps", "schedule", "eval_every_steps", "fork_steps")
"""What runs of one trunk may differ in."""


def in_order(connection: Connection, study: int, *, free: Sequence[Row[Any]], running: Sequence[Row[Any]]) -> list[Any]:
    """The free trials that may run now, trunks with more dependants first, otherwise as given.

    Rows hold `id`, `spec` and `plan`, their phase's.
    """
    families: dict[Hashable, list[Row[Any]]] = defaultdict(list)
    for row in (*free, *running):
        families[_trunk(row.spec, row.plan)].append(row)
    related = {row.id for members in families.values() if len(members) > 1 for row in members}
    if not related:
        return list(free)
    made = _states(connection, study)
    starts = {row.id: _start(row, made[_trunk(row.spec, row.plan)]) for row in (*free, *running) if row.id in related}

    def serves(maker: Row[Any], other: Row[Any]) -> bool:
        step = _deepest(other.spec, maker.spec)
        return maker.id != other.id and step > max(starts[maker.id], starts[other.id])

    def family(row: Row[Any]) -> list[Row[Any]]:
        return families[_trunk(row.spec, row.plan)] if row.id in related else []

    is_running = {row.id for row in running}
    may_run = [row for row in free if not any(m.id in is_running and serves(m, row) for m in family(row))]
    num_dependants = {row.id: sum(m.id not in is_running and serves(row, m) for m in family(row)) for row in may_run}
    return sorted(may_run, key=lambda row: -num_dependants[row.id])


def _states(connection: Connection, study: int) -> dict[Hashable, list[tuple[str, int]]]:
    """Every full state of a study as (its run's spec, step), by trunk."""
    rows = connection.execute(
        select(trials.c.spec, phases.c.plan, checkpoints.c.global_step)
        .join(trials, trials.c.id == checkpoints.c.trial_id)
        .join(phases, phases.c.id == trials.c.phase_id)
        .where(trials.c.study_id == study, checkpoints.c.kind == "full")
    )
    made: dict[Hashable, list[tuple[str, int]]] = defaultdict(list)
    for row in rows:
        made[_trunk(row.spec, row.plan)].append((row.spec, row.global_step))
    return made


def _start(row: Row[Any], made: list[tuple[str, int]]) -> int:
    """The deepest of the states that this run could start from."""
    return max((step for maker, step in made if step <= _common_past(row.spec, maker)), default=0)


def _deepest(spec: str, maker: str) -> int:
    """The deepest state that another run keeps in its course and this one could start from."""
    common = _common_past(spec, maker)
    return max((step for step in _kept(maker) if step <= common), default=0)


@lru_cache(maxsize=16384)
def _trunk(spec: str, plan: str) -> Hashable:
    """Equal for runs that may share a past. Read from the text: thousands of trials are sorted by it at each claim."""
    settings = json.loads(spec)
    return dump({name: value for name, value in settings.items() if name not in _HORIZON}), plan_of(plan).eval


@lru_cache(maxsize=4096)
def _common_past(spec: str, maker: str) -> int:
    """How far a run of this trunk agrees with another's rates, and is evaluated nowhere that the other is not (D7)."""
    from tuner.training.schedule import shared_prefix  # numpy stays unloaded where nothing is shared

    run, other = spec_of(spec), spec_of(maker)
    shared = shared_prefix(run, other)
    unmeasured = sorted(set(run.eval_steps()) - set(other.eval_steps()))
    return min([shared, *(step - 1 for step in unmeasured[:1])])


@lru_cache(maxsize=4096)
def _kept(spec: str) -> frozenset[int]:
    from tuner.training.schedule import kept_steps

    return kept_steps(spec_of(spec))
