"""Mends what verifying found, from rows and files alone; nothing is invented, nothing measured is changed.

Rule: one transaction per study, refused while its planner or any of its workers may be alive. A damaged file is set
aside under `*.damaged`, never deleted: row first, file later (D5).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

from sqlalchemy import Connection, delete, insert, update

from tuner.errors import StudyError
from tuner.storage import attempts, evaluations, inspection
from tuner.storage.check_curves import missing_steps
from tuner.storage.check_trials import recomputed
from tuner.storage.clock import now
from tuner.storage.findings import Finding
from tuner.storage.inspection import Inspection
from tuner.storage.leases import FREE, is_alive, owner_of
from tuner.storage.paths import HomePaths
from tuner.storage.rows import spec_of
from tuner.storage.store import Store
from tuner.storage.tables import checkpoints, pins, trials

DAMAGED = ".damaged"
"""Behind the name of a file that was set aside."""


def repair(store: Store, name: str, findings: Iterable[Finding]) -> list[str]:
    """Mend the findings of a study; what was done, one line each.

    Raises:
        StudyError: if the study is running.
    """
    done: list[str] = []
    aside: list[str] = []
    with store.database.write("repair") as connection:
        study = inspection.fetch(connection, name)
        _refuse_running(study, now(connection))
        # Files first: whose checkpoint goes may have to start elsewhere, and numbers are recomputed last.
        wanted = {(finding.mend, finding.target) for finding in findings if finding.mend in _MENDS}
        wanted |= {("recompute", target) for mend, target in wanted if mend in ("copy_rows", "drop_rows")}
        for kind, mend in _MENDS.items():
            for target in sorted(target for other, target in wanted if other == kind):
                done.append(mend(connection, study, target))
                if kind == "set_aside":
                    aside += [file.path for file in study.checkpoints if file.id == target]
    for path in aside:
        _set_aside(store.paths, path)
    return done


def _refuse_running(study: Inspection, at: float) -> None:
    name = study.name
    if study.is_running:
        owner = owner_of(study.rows.study)
        raise StudyError(
            f"study {name!r} is being run by pid {owner.pid} on {owner.hostname}; stop it (Ctrl-C saves all work), "
            f"then `tuner verify {name} --repair`"
        )
    for trial in study.trials:
        if trial.state == "running" and trial.lease_owner is not None and is_alive(trial, at):
            owner = owner_of(trial)
            raise StudyError(
                f"trial {trial.id} of study {name!r} is leased to {owner.label} (pid {owner.pid} on {owner.hostname}), "
                f"which may be alive; stop it, or wait until its lease expires, then `tuner verify {name} --repair`"
            )


def _set_aside(paths: HomePaths, stored: str) -> None:
    file = paths.resolve(stored)
    with contextlib.suppress(FileNotFoundError):
        file.rename(file.with_name(file.name + DAMAGED))


def _drop_checkpoint(connection: Connection, study: Inspection, target: int) -> str:
    return f"dropped the row of {_forget(connection, study, target)}, whose file is gone"


def _drop_damaged(connection: Connection, study: Inspection, target: int) -> str:
    path = _forget(connection, study, target)
    return f"set {path} aside as *{DAMAGED}; a trial that needs it starts from the one before"


def _forget(connection: Connection, study: Inspection, target: int) -> str:
    """Drop the row of a file that nobody can use; whoever pinned it starts elsewhere."""
    connection.execute(delete(pins).where(pins.c.checkpoint_id == target))
    connection.execute(delete(checkpoints).where(checkpoints.c.id == target))
    return next(file.path for file in study.checkpoints if file.id == target)


def _copy_rows(connection: Connection, study: Inspection, target: int) -> str:
    """Give a fork its donor's curves again."""
    trial = next(trial for trial in study.trials if trial.id == target)
    shared = [step for step in spec_of(trial.spec).eval_steps() if step <= trial.forked_from_step]
    evaluations.delete_up_to(connection, target, trial.forked_from_step)
    evaluations.copy_rows(connection, trial.forked_from_trial, to=target, steps=shared)
    step, donor = trial.forked_from_step, trial.forked_from_trial
    return f"trial {target}: took its rows up to step {step:,} from trial {donor} again"


def _drop_rows(connection: Connection, study: Inspection, target: int) -> str:
    trial = next(trial for trial in study.trials if trial.id == target)
    evaluations.delete_beyond(connection, target, trial.last_step)
    evaluations.keep_only(connection, target, [*spec_of(trial.spec).eval_steps(), trial.last_step])
    return f"trial {target}: dropped rows at steps where it is not evaluated"


def _go_back(connection: Connection, study: Inspection, target: int) -> str:
    """Drop an unfinished trial's states from the first missing row on, so that its next attempt measures it."""
    trial = next(trial for trial in study.trials if trial.id == target)
    missing = [step for steps in missing_steps(study, trial).values() for step in steps]
    first = min(missing, default=0)
    later = [file for file in study.of_trial(target) if file.global_step >= first]
    pinned = {checkpoint for checkpoint, _ in study.pins}
    ids = [file.id for file in later if file.id not in pinned]
    connection.execute(delete(checkpoints).where(checkpoints.c.id.in_(ids)))
    return f"trial {target}: goes back to before step {first:,}, to be measured there again"


def _pin(connection: Connection, study: Inspection, target: int) -> str:
    trial = next(trial for trial in study.trials if trial.id == target)
    donor, step = trial.forked_from_trial, trial.forked_from_step
    file = next(file for file in study.donors if file.trial == donor and file.global_step == step)
    connection.execute(insert(pins).values(checkpoint_id=file.id, trial_id=target))
    return f"trial {target}: pinned {file.path}, from which it forked"


def _unpin(connection: Connection, study: Inspection, target: int) -> str:
    connection.execute(delete(pins).where(pins.c.trial_id == target))
    return f"trial {target}: let go of what it pinned, for it is no fork"


def _free(connection: Connection, study: Inspection, target: int) -> str:
    """Bring lease, epoch and attempts of a trial that nobody runs in line; its next worker takes it up."""
    trial = next(trial for trial in study.trials if trial.id == target)
    newest = max((row.lease_epoch for row in study.attempts.get(target, ())), default=0)
    for row in study.attempts.get(target, ()):
        attempts.end(connection, target, epoch=row.lease_epoch, how="died")
    state = "waiting" if trial.state == "running" else trial.state
    epoch = max(trial.lease_epoch, newest)
    connection.execute(update(trials).where(trials.c.id == target).values(state=state, lease_epoch=epoch, **FREE))
    return f"trial {target}: freed its lease; it is {state}"


def _recompute(connection: Connection, study: Inspection, target: int) -> str:
    """Bring a trial's numbers up to date with its rows as they are by now."""
    fresh = inspection.fetch(connection, study.name)
    trial = next(trial for trial in fresh.trials if trial.id == target)
    values = {**recomputed(fresh, trial), "max_train_steps": spec_of(trial.spec).max_train_steps}
    changed = [name for name, value in values.items() if getattr(trial, name) != value]
    connection.execute(update(trials).where(trials.c.id == target).values(**values))
    return f"trial {target}: recomputed {', '.join(changed) or 'its numbers'} from its rows"


_Do = Callable[[Connection, Inspection, int], str]
_MENDS: dict[str, _Do] = {
    "set_aside": _drop_damaged,
    "drop_checkpoint": _drop_checkpoint,
    "free": _free,
    "copy_rows": _copy_rows,
    "drop_rows": _drop_rows,
    "go_back": _go_back,
    "pin": _pin,
    "unpin": _unpin,
    "recompute": _recompute,
}
"""In this order: numbers follow from rows, and rows from files."""
