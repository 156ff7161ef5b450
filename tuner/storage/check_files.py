"""Whether every checkpoint's file is there and whole, and every trial has the files that it needs.

Rule: rows were read at one moment, files after it; a file that is missing counts only if its row is still there, since
workers delete rows first and files later (D5).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

from sqlalchemy import Row

from tuner.analysis.averages import averaged_split
from tuner.analysis.best_averaged import best_averaged
from tuner.errors import HomeError
from tuner.records import AveragedBest, Curve
from tuner.storage.checkpoints import WITHOUT_MODEL
from tuner.storage.findings import Check, Finding, check
from tuner.storage.inspection import Inspection
from tuner.storage.paths import HomePaths, folder_name
from tuner.storage.rows import StoredCheckpoint, spec_of

_RETRAIN = "its numbers stand; for its weights, restore a copy of the home folder, or run the study under another name"

StillStored = Callable[[Collection[int]], set[int]]
"""Which of these ids of checkpoints have a row now."""


def check_checkpoints(study: Inspection, paths: HomePaths, *, still_stored: StillStored) -> Check:
    """Every file is what its row says; unfinished trials can go on; complete ones have their best weights."""
    own = {trial.id: trial for trial in study.trials}
    damaged = {file.id: finding for file in study.checkpoints if (finding := _file_finding(file, paths)) is not None}
    there = still_stored(damaged.keys())
    findings = [finding for id_, finding in damaged.items() if id_ in there]
    usable = [file for file in study.checkpoints if file.id not in damaged]
    for file in study.checkpoints:
        if file.trial in own:
            findings += _row_findings(study, own[file.trial], file, paths=paths)
    leaders = study.leaders()
    for trial in study.trials:
        if leaders is None or trial.id in leaders:
            findings += _need_findings(study, trial, usable)
    return check("checkpoints", len(study.checkpoints), findings, notes=_rework(study, usable))


def count_unreferenced(study: Inspection, paths: HomePaths) -> Check:
    """Files in the study's folder that no row names: garbage for `tuner gc`, not a contradiction."""
    folder = paths.home / "checkpoints" / folder_name(study.name)
    known = {file.path for file in study.checkpoints}
    extra = [path for path in folder.glob("*/*") if path.is_file() and str(path.relative_to(paths.home)) not in known]
    size = sum(path.stat().st_size for path in extra if path.exists())
    notes = [f"{len(extra)} without a row, {size:,} bytes; `tuner gc {study.name}` removes them"] if extra else []
    return check("files", len(known), (), notes=notes)


def problem_of(file: StoredCheckpoint, paths: HomePaths) -> str | None:
    """What is wrong with a checkpoint's file: missing, of another size, or altered. None if it is whole."""
    try:
        path = paths.resolve(file.path)
        size = path.stat().st_size
        if size != file.size_bytes:
            return f"has {size:,} bytes, not {file.size_bytes:,}"
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except FileNotFoundError:
        return "is missing"
    except HomeError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == file.sha256 else f"was altered: sha256 {found[:12]}, recorded {file.sha256[:12]}"


def _file_finding(file: StoredCheckpoint, paths: HomePaths) -> Finding | None:
    problem = problem_of(file, paths)
    if problem is None:
        return None
    mend = "drop_checkpoint" if problem == "is missing" else "set_aside"
    return Finding(subject=file.path, problem=problem, mend=mend, target=file.id)  # type: ignore[arg-type]


def _row_findings(study: Inspection, trial: Row[Any], file: StoredCheckpoint, *, paths: HomePaths) -> Iterator[Finding]:
    """What contradicts a checkpoint's row: its place, its recipe, its epoch, its step."""
    expected = paths.checkpoint(
        study.name, file.trial, global_step=file.global_step, kind=file.kind, epoch=file.lease_epoch
    )
    problems = []
    if file.path != str(expected.relative_to(paths.home)):
        problems.append(f"is no place for the {file.kind} checkpoint of step {file.global_step:,}")
    if file.static_digest != trial.static_digest:
        problems.append(f"is of another recipe than trial {trial.id}")
    elif file.recipe_key != _recipe_key(trial, file.global_step):
        problems.append(f"has the recipe key of other learning rates than those of trial {trial.id}")
    if not any(row.lease_epoch == file.lease_epoch for row in study.attempts.get(trial.id, ())):
        problems.append(f"was written under epoch {file.lease_epoch}, of which trial {trial.id} has no attempt")
    is_pinned = any(checkpoint == file.id for checkpoint, _ in study.pins)
    if file.global_step > trial.last_step and not is_pinned:
        problems.append(f"lies beyond the last step of trial {trial.id}, {trial.last_step:,}")
    for problem in problems:
        yield Finding(subject=file.path, problem=problem, mend="set_aside", target=file.id)


def _recipe_key(trial: Row[Any], step: int) -> str:
    """The key that the weights of a trial's run have at a step (D2)."""
    from tuner.training.recipe import RecipeKeys  # Only here: numpy.

    spec = spec_of(trial.spec)
    if step > spec.max_train_steps:
        return "beyond the run"
    return RecipeKeys(trial.static_digest, spec).key_at(step)


def _need_findings(study: Inspection, trial: Row[Any], usable: list[StoredCheckpoint]) -> Iterator[Finding]:
    """A complete trial whose best weights, which `tuner export` and the test score need, are gone."""
    if trial.outcome != "complete" or study.plan(trial).kind in WITHOUT_MODEL:
        return
    within_reach = (*study.of_trial(trial.id), *study.pinned_by(trial.id))
    needed = [("weights", trial.best_step, {f.id for f in within_reach if f.kind != "averaged"})]
    if (averaged := _best_averaged(study, trial)) is not None:
        needed.append(("averaged weights", averaged.step, {f.id for f in within_reach if f.kind == "averaged"}))
    for what, step, reached in needed:
        kept = {file.id for file in within_reach if file.global_step == step} & reached
        if not kept and trial.forked_from_step is not None and step <= trial.forked_from_step:
            continue  # It lies in a past shared with a run that kept no weights there: nothing was lost.
        if not any(file.id in kept for file in usable):
            problem = f"the {what} of its best step, {step:,}, are not there"
            yield Finding(subject=f"trial {trial.id}", problem=problem, remedy=_RETRAIN)


def _best_averaged(study: Inspection, trial: Row[Any]) -> AveragedBest | None:
    spec = study.plan(trial).eval
    curves: dict[int, Curve] = {
        horizon: tuple(
            (row.global_step, row.value)
            for row in study.evals.get(trial.id, ())
            if (row.split, row.metric) == (averaged_split(horizon), spec.metric)
        )
        for horizon in spec.averaged_horizons
    }
    return best_averaged(curves, spec.direction)


def _rework(study: Inspection, usable: list[StoredCheckpoint]) -> Iterator[str]:
    """Unfinished trials that train more steps again than lie between two checkpoints: theirs were set aside."""
    every = json.loads(study.rows.study.config).get("execution", {}).get("checkpoint_every_steps", "auto")
    for trial in study.trials:
        within_reach = {file.id for file in (*study.of_trial(trial.id), *study.pinned_by(trial.id))}
        steps = [file.global_step for file in usable if file.id in within_reach and file.kind == "full"]
        start = max(steps, default=0)
        bound = every if isinstance(every, int) else 2 * spec_of(trial.spec).eval_every_steps
        if trial.state != "ended" and trial.last_step - start > bound:
            yield f"trial {trial.id}, at step {trial.last_step:,}, goes on from step {start:,}"
