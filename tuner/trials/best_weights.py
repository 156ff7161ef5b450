"""A trial's best weights as a whole file: the kept one, or what training gives again where that was damaged.

The one rule: weights are used only under the digest that was recorded when they were made.
"""

from __future__ import annotations

from tuner.records import EvalSpec, TrialRecord
from tuner.storage.store import StoredCheckpoint
from tuner.training.durable import CheckpointDamaged, require_whole, set_aside
from tuner.trials.bench import Bench, Prepared


def whole_best_weights(bench: Bench, trial: TrialRecord, eval_spec: EvalSpec) -> StoredCheckpoint | None:
    """The row of a file that is whole; damaged ones are set aside, and made again if no other holds these weights.

    None if none were kept, or they cannot be made again here: other data, other numerics.
    """
    while True:
        found = bench.store.best_checkpoint(trial.trial)
        if found is None:
            return None
        path = bench.store.paths.resolve(found.path)
        try:
            require_whole(path, found.sha256)
            return found
        except CheckpointDamaged as error:
            told = f"trial {trial.trial}: {str(error).partition(';')[0]}; {set_aside(path)}"
        another = bench.store.best_checkpoint(trial.trial)
        if another is None or not bench.store.paths.resolve(another.path).is_file():
            return _made_again(bench, trial, eval_spec, found, told)
        bench.on_warning(f"{told}; another file holds the same weights")


def _made_again(
    bench: Bench, trial: TrialRecord, eval_spec: EvalSpec, lost: StoredCheckpoint, told: str
) -> StoredCheckpoint | None:
    """Train from the nearest full state to the best step, and keep the weights if they are the very same."""
    prepared = bench.prepare(trial, eval_spec)
    run = prepared.run
    begun = _nearest_state(bench, trial, prepared, until=lost.global_step)
    while run.global_step < lost.global_step:
        run.update()
    path = bench.store.paths.resolve(lost.path)
    saved = run.save_full(path) if lost.kind == "full" else run.save_weights(path, run.copy_weights())
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
