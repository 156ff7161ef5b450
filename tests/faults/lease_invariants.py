"""What must hold after every rule of the state machine, and in the end; each line a promise of D4 to D7."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from synthetic_trainer import SKIPPED_EVERY, SPLITS, SyntheticRun, loss, recipe_keys, weights

from tuner.analysis.best_steps import best
from tuner.records import VALIDATION, ClosePhase, Outcome
from tuner.storage import tables
from tuner.storage.rows import plan_of, spec_of
from tuner.storage.verify import inspect, verify

if TYPE_CHECKING:
    from lease_machine import LeaseMachine

Rows = dict[int, list[Any]]


def check(machine: LeaseMachine) -> None:
    version = machine.reader.execute("pragma data_version").fetchone()[0]
    if version == machine.checked_version:
        return
    machine.checked_version = version
    trials = machine.rows(tables.trials)
    plans = {row.id: plan_of(row.plan) for row in machine.rows(tables.phases)}
    evals, files = _by_trial(machine.rows(tables.evals)), _by_trial(machine.rows(tables.checkpoints))
    pins = _by_trial(machine.rows(tables.pins))
    every_file = {file.id: file for own in files.values() for file in own}
    sweeps = {trial.id for trial in trials if plans[trial.phase_id].is_sweep}
    by_id = {trial.id: trial for trial in trials}
    _check_verified(machine)
    _check_files(machine, trials, files)
    for trial in trials:
        _check_lease(machine, trial)
        _check_curve(trial, evals[trial.id], is_sweep=trial.id in sweeps)
        pinned = [every_file[pin.checkpoint_id] for pin in pins[trial.id]]
        _check_fork(trial, pinned)
        states = [f for f in (*files[trial.id], *pinned) if f.kind == "full" and f.path not in machine.damaged]
        found = _best_so_far(evals[trial.id], states)
        is_known = trial.outcome != "crashed" and not (machine.damaged and pinned)
        if found is not None and is_known and _keeps_weights(trial, found, by_id, sweeps):
            steps = {file.global_step for file in (*files[trial.id], *pinned)}
            assert found in steps, f"trial {trial.id}: the weights of its best step {found} are gone"


def finish(machine: LeaseMachine) -> None:
    """Let whatever is left run undisturbed; each trial that finished is what it would have been without any fault."""
    machine.dead |= {slot.owner.pid for slot in machine.slots} | {machine.planner.owner.pid}
    machine.resume()
    _run_all(machine)
    check(machine)
    for trial in machine.rows(tables.trials):
        assert trial.state == "ended", f"trial {trial.id} was lost: it is {trial.state}"
        if trial.outcome == "crashed":
            continue
        spec = spec_of(trial.spec)
        if trial.outcome == "complete":
            assert trial.weights_digest == weights(spec, trial.last_step), f"trial {trial.id} has other weights"
            assert trial.reason == "fitted" or trial.last_step == spec.max_train_steps
        is_whole = trial.reason != "dominated" or not trial.last_step
        assert not is_whole or trial.num_skipped_updates == trial.last_step // SKIPPED_EVERY
    bill = machine.store.bill("x")
    assert bill["executed"] == bill["stage_tree"] + bill["recomputed"] + bill["overshoot"]
    assert min(bill["recomputed"], bill["overshoot"]) >= 0, bill


def _run_all(machine: LeaseMachine) -> None:
    owner = machine._worker()
    for _ in range(200):
        claim = machine.store.claim("x", owner, share=True)
        if claim is not None:
            machine.epochs[claim.trial.trial] = claim.lease.epoch
            run = SyntheticRun(machine.store, claim, share=True, written=machine.written)
            while not run.is_over:
                run.advance()
            machine.seen[run.trial] = 0
            continue
        open_phases = [p for p in machine.store.load("x", with_curves=False).phases if not p.is_closed]
        if not open_phases:
            return
        phase = open_phases[0]
        left = {t.trial: t.state for t in phase.trials if t.state not in ("paused", "ended")}
        assert not left, f"nothing may run, but trials are left: {left}"
        stop = machine.store.stop_step("x", phase.name) if phase.plan.is_sweep else None
        outcomes = {t.trial: Outcome("stopped", "dominated") for t in phase.trials if t.state == "paused"}
        move = ClosePhase(phase=phase.name, verdict="v", reason="r", truncate_at=stop, outcomes=outcomes)
        machine.store.apply(machine.planner, move)
    raise AssertionError("the study does not end")


def _check_verified(machine: LeaseMachine) -> None:
    """`tuner verify` finds nothing but the files that were damaged."""
    for found in verify(machine.store, inspect(machine.store, "x")):
        is_damage = found.name == "checkpoints" and machine.damaged
        assert found.is_clean or is_damage, f"tuner verify: {found.name}: {found.findings}"


def _by_trial(rows: list[Any]) -> Rows:
    found: Rows = defaultdict(list)
    for row in rows:
        found[row.trial_id].append(row)
    return found


def _check_lease(machine: LeaseMachine, trial: Any) -> None:
    assert (trial.state == "running") == (trial.lease_owner is not None), f"trial {trial.id}: state and lease differ"
    assert trial.lease_epoch == machine.epochs.get(trial.id, 0), f"trial {trial.id}: its epoch is nobody's"
    owners = [slot for slot in machine.slots if slot.run and slot.run.lease.id == trial.id]
    current = [slot for slot in owners if slot.run and slot.run.lease.epoch == trial.lease_epoch]
    assert len(current) <= 1, f"trial {trial.id} has two owners"
    seen, counted = machine.seen.get(trial.id, 0), machine.counted.get(trial.id, 0)
    assert seen <= trial.num_deaths <= counted, (
        f"trial {trial.id}: {trial.num_deaths} deaths, {seen} to {counted} count"
    )
    assert (trial.outcome == "crashed") == (trial.num_deaths >= 3 and trial.state == "ended") or trial.state != "ended"


def _check_curve(trial: Any, rows: list[Any], *, is_sweep: bool) -> None:
    spec = spec_of(trial.spec)
    expected = {step for step in spec.eval_steps() if step <= trial.last_step}
    for split in SPLITS:
        values = {row.global_step: row.value for row in rows if row.split == split}
        assert set(values) == expected, f"trial {trial.id}: evaluated at {sorted(values)}, not {sorted(expected)}"
        for step, value in values.items():
            assert value == loss(weights(spec, step), step, split), f"trial {trial.id}: another loss at step {step}"
    curve = _curve(rows)
    found = best(curve, "minimize") or (None, None)
    assert (trial.best_step, trial.best_value) == found, f"trial {trial.id}: its best step is stale"
    assert (trial.num_evals, trial.last_value) == (len(curve), curve[-1][1] if curve else None)


def _check_files(machine: LeaseMachine, trials: list[Any], files: Rows) -> None:
    specs = {trial.id: spec_of(trial.spec) for trial in trials}
    known = set()
    for trial, own in files.items():
        for file in own:
            known.add(file.path)
            assert file.recipe_key == recipe_keys(specs[trial])(file.global_step)
            if file.path in machine.damaged:
                continue
            path = machine.home / file.path
            assert path.exists(), f"{file.path} is visible, but has no file"
            data = path.read_bytes()
            assert hashlib.sha256(data).hexdigest() == file.sha256
            state = weights(specs[trial], file.global_step)
            assert json.loads(data) == {"step": file.global_step, "state": state}, f"{file.path}: other weights"
    folder = machine.home / "checkpoints"
    there = {str(path.relative_to(machine.home)) for path in folder.rglob("*.safetensors")}
    assert there <= known | machine.written, f"files that nobody knows: {sorted(there - known - machine.written)}"


def _check_fork(trial: Any, pinned: list[Any]) -> None:
    if trial.forked_from_trial is None:
        assert not pinned, f"trial {trial.id} is no fork, but keeps files of others"
        return
    fork = (trial.forked_from_trial, trial.forked_from_step, "full")
    held = {(file.trial_id, file.global_step, file.kind) for file in pinned}
    assert fork in held, f"trial {trial.id} forked from {fork}, which is not pinned"


def _best_so_far(rows: list[Any], states: list[Any]) -> int | None:
    """The best step that a resume would find."""
    newest = max((file.global_step for file in states), default=0)
    found = best(tuple(point for point in _curve(rows) if point[0] <= newest), "minimize")
    return None if found is None else found[0]


def _keeps_weights(
    trial: Any, step: int, trials: dict[int, Any], sweeps: set[int], seen: frozenset[int] = frozenset()
) -> bool:
    """Whether a trial that is best at `step` keeps its weights: of a shared past, only those of the donor's best.

    A donor that lost all it had may have gone on from its own fork: whose weights those of their past are, no row says.
    """
    if trial.id in sweeps or trial.id in seen:
        return False
    if trial.forked_from_trial is None or step > trial.forked_from_step:
        return True
    donor = trials[trial.forked_from_trial]
    spec = spec_of(donor.spec)
    shared = [at for at in spec.eval_steps() if at <= trial.forked_from_step]
    curve = tuple((at, loss(weights(spec, at), at, VALIDATION)) for at in shared)
    found = best(curve, "minimize")
    return found is not None and found[0] == step and _keeps_weights(donor, step, trials, sweeps, seen | {trial.id})


def _curve(rows: list[Any]) -> tuple[tuple[int, float], ...]:
    return tuple(sorted((row.global_step, row.value) for row in rows if row.split == VALIDATION))
