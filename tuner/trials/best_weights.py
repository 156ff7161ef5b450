"""A trial's best weights as a whole file: the kept one, or what training gives again where that was damaged.

The one rule: weights are used only under the digest that was recorded when they were made.
"""

from __future__ import annotations

from tuner.records import EvalSpec, TrialRecord
from tuner.storage.store import StoredCheckpoint
from tuner.training.durable import CheckpointDamaged, require_whole, set_aside
from tuner.trials.bench import Bench, Prepared, Run


def whole_best_weights(
    bench: Bench, trial: TrialRecord, eval_spec: EvalSpec, *, horizon: int | None = None
) -> StoredCheckpoint | None:
    """The row of a file that is whole; damaged ones are set aside, and made again if no other holds these weights.

    With a `horizon` the best averaged weights, which are those of this horizon.

    None if none were kept, or they cannot be made again here: other data, other numerics.
    """
    while True:
        found = bench.store.best_checkpoint(trial.trial, averaged=horizon is not None)
        if found is None:
            return None
        path = bench.store.paths.resolve(found.path)
        try:
            require_whole(path, found.sha256)
            return found
        except CheckpointDamaged as error:
            told = f"trial {trial.trial}: {str(error).partition(';')[0]}; {set_aside(path)}"
        another = bench.store.best_checkpoint(trial.trial, averaged=horizon is not None)
        if another is None or not bench.store.paths.resolve(another.path).is_file():
            trained = _trained_to(bench, trial, eval_spec, step=found.global_step)
            return _written_again(bench, trained, found, told, horizon=horizon)
        bench.on_warning(f"{told}; another file holds the same weights")


def _trained_to(bench: Bench, trial: TrialRecord, eval_spec: EvalSpec, *, step: int) -> tuple[Run, int]:
    """The run at a step of the past, trained from the nearest full state; and from where."""
    prepared = bench.prepare(trial, eval_spec)
    begun = _nearest_state(bench, trial, prepared, until=step)
    while prepared.run.global_step < step:
        prepared.run.update()
    return prepared.run, begun


def _written_again(
    bench: Bench, trained: tuple[Run, int], lost: StoredCheckpoint, told: str, *, horizon: int | None
) -> StoredCheckpoint | None:
    """Keep the weights of a run that was trained again if they are the very same."""
    run, begun = trained
    path = bench.store.paths.resolve(lost.path)
    if lost.kind == "full":
        copied = run.copy_full()
    else:
        copied = run.copy_weights() if horizon is None else run.copy_averaged(horizon)
    saved = copied.save(path)
    if saved.sha256 != lost.sha256:
        path.unlink()
        bench.on_warning(f"{told}; training from step {begun} gave other weights, so that there are none of that step")
        return None
    bench.on_warning(f"{told}; its weights were made again by training from step {begun}, and are the very same")
    return lost


def _nearest_state(bench: Bench, trial: TrialRecord, prepared: Prepared, *, until: int) -> int:
    """Load the deepest state that is this run's own past and whole; the step where the run stands then."""
    for file in bench.store.states_of(prepared.static_digest, until=until):
        path, key = bench.store.paths.resolve(file.path), prepared.key_at(file.global_step)
        if file.recipe_key != key or file.numerics_key != prepared.numerics_key or not path.is_file():
            continue
        try:
            prepared.run.load(path, sha256=file.sha256)
            return file.global_step
        except CheckpointDamaged as error:
            bench.on_warning(f"trial {trial.trial}: {str(error).partition(';')[0]}; {set_aside(path)}")
    return 0
