"""One claimed trial, from its lease to its outcome: the only place where training meets storage.

The runner tells and never trains. Order of writes (D5): an evaluation commits at once; a checkpoint is a durable file
before it is a row, both written while training goes on. Rows come in the order of their steps: the next commit waits
for them, so that a crash costs no committed step beyond a checkpoint interval.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tuner.analysis.averages import averaged_split
from tuner.analysis.best_averaged import best_averaged
from tuner.analysis.best_steps import best
from tuner.analysis.divergence import is_diverged
from tuner.errors import LeaseLost
from tuner.records import TRAIN_SAMPLE, VALIDATION, Curve, Outcome
from tuner.storage.checkpoints import WITHOUT_MODEL
from tuner.storage.paths import CheckpointKind
from tuner.storage.store import Claim, NewCheckpoint, Progress, Start
from tuner.training.durable import CheckpointDamaged, set_aside
from tuner.training.loop import CheckpointDue, Evaluated, Interrupted, NonFinite, train
from tuner.training.memory import OutOfMemory, free_memory
from tuner.training.schedule import kept_steps
from tuner.trials.bench import Bench, Copied, Monitor
from tuner.trials.checkpoint_writer import CheckpointWriter
from tuner.trials.heartbeat import Heartbeat

Ending = Literal["ended", "paused", "released"]


def run_trial(claim: Claim, bench: Bench) -> Ending:
    """Train a claimed trial until it ends, reaches its target, or must stop.

    Raises:
        LeaseLost: if another worker owns the trial by now; nothing was written after that.
    """
    bench.control.lost.clear()
    with Heartbeat(bench.store, claim.lease, on_lost=bench.control.lost.set):
        try:
            return _Attempt(claim, bench).carry_out()
        except CheckpointDamaged as error:
            bench.on_warning(f"trial {claim.trial.trial}: {error}")
            bench.store.release(claim.lease)
            return "released"
        except OutOfMemory as error:
            failed = error.without_frames()
        free_memory()  # Only here: until now the exception held the run.
        return _after_memory(claim, bench, failed)


def _after_memory(claim: Claim, bench: Bench, error: OutOfMemory) -> Ending:
    """From the newest checkpoint with less memory, or the end of the trial: the failed update never happened.

    It ends at once, not after three attempts: it needs the same memory at the same update each time.
    """
    goes_on, told = bench.after_memory(claim.trial, error)
    if goes_on:
        bench.store.release(claim.lease)
    else:
        bench.store.fail_trial(claim.lease, told, is_final=True)
    bench.on_warning(f"trial {claim.trial.trial}{'' if goes_on else ' crashed'}: {told}")
    return "released" if goes_on else "ended"


class _Attempt:
    """One worker's try at one trial."""

    def __init__(self, claim: Claim, bench: Bench) -> None:
        self._began = time.perf_counter()
        self._claim, self._bench, self._store = claim, bench, bench.store
        self._trial, self._spec, self._plan = claim.trial, claim.trial.spec, claim.phase
        self._prepared = bench.prepare(self._trial, self._plan.eval)
        self._run = self._prepared.run
        self._curves: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
        self._saving_seconds = self._setup_seconds = 0.0
        self._best_weights: dict[CheckpointKind, Copied] = {}
        self._writer = CheckpointWriter()
        self._saved_full_at = -1
        self._keep = kept_steps(self._spec)

    def carry_out(self) -> Ending:
        with self._writer:
            return self._carry_out()

    def _carry_out(self) -> Ending:
        start = self._begin()
        # What the stored curve already says: a worker may have died between its last checkpoint and its outcome.
        outcome = self._judge(start.from_step)
        if outcome is not None:
            return self._end(outcome)
        self._setup_seconds = time.perf_counter() - self._began
        return self._train(start.from_step)

    # ------------------------------------------------------------ start

    def _begin(self) -> Start:
        sharing = self._bench.sharing
        start = self._store.patience.work(
            lambda: self._store.begin_attempt(
                self._claim.lease,
                static_digest=self._prepared.static_digest,
                numerics=self._prepared.numerics,
                numerics_key=self._prepared.numerics_key,
                eval_key=self._prepared.eval_key,
                key_at=self._prepared.key_at,
                share=sharing.share,
                other_numerics=sharing.other_numerics or self._prepared.follows_others,
            )
        )
        if start.checkpoint is not None:
            self._load(self._store.paths.resolve(start.checkpoint.path), start.checkpoint.sha256)
            self._saved_full_at = start.from_step
        for row in self._store.evaluations(self._trial.trial):
            self._curves[row.split, row.metric].append((row.global_step, row.value))
        return start

    def _load(self, path: Path, sha256: str) -> None:
        try:
            self._run.load(path, sha256=sha256)
        except CheckpointDamaged as error:
            # Never used: without its file the row is passed over, and the one before it serves.
            told = f"{str(error).partition(';')[0]}; {set_aside(path)}"
            raise CheckpointDamaged(f"{told}, and an older one serves; the updates between are done again") from None

    # ------------------------------------------------------------ training

    def _train(self, from_step: int) -> Ending:
        until, every = self._spec.max_train_steps, self._prepared.execution.checkpoint_every_steps
        monitor = self._monitor(from_step)
        events = train(
            self._run,
            until=until,
            eval_steps=frozenset(self._spec.eval_steps()),
            checkpoint_steps=frozenset(range(every, until + 1, every)) | {step for step in self._keep if step <= until},
            interrupted=self._bench.control.is_interrupted,
            monitor=monitor,
        )
        try:
            for event in events:
                if isinstance(event, Evaluated):
                    self._record(event)
                    outcome = self._judge(event.global_step)
                    if outcome is not None:
                        return self._end(outcome)
                elif isinstance(event, CheckpointDue):
                    self._save()
                elif isinstance(event, NonFinite):
                    return self._end(Outcome("infeasible", "non-finite"))
                elif isinstance(event, Interrupted):
                    return self._leave()
        finally:
            monitor.close()
        return self._reach_target()

    def _monitor(self, from_step: int) -> Monitor:
        folder = self._store.paths.tensorboard(self._claim.study, self._plan.name, self._trial.number)
        return self._bench.monitor(self._prepared, folder, from_step=from_step)

    def _record(self, event: Evaluated) -> None:
        self._wait_for_files()
        with self._saving():
            self._store.patience.work(
                lambda: self._store.record_evaluation(
                    self._claim.lease, event.evaluations, eval_key=self._prepared.eval_key, progress=self._progress()
                )
            )
        for row in event.evaluations:
            self._curves[row.split, row.metric].append((row.global_step, row.value))
        self._hold_best(event.global_step)
        self._bench.on_progress(self._trial.trial, event.global_step)

    def _hold_best(self, step: int) -> None:
        """Copy the weights, and the averaged ones, that are the best so far, unless no model is chosen here."""
        if self._plan.kind in WITHOUT_MODEL:
            return
        spec = self._plan.eval
        found = best(self._curve(VALIDATION, spec.metric), spec.direction)
        if found is not None and found[0] == step:
            self._best_weights["weights"] = self._run.copy_weights()
        curves = {horizon: self._curve(averaged_split(horizon), spec.metric) for horizon in spec.averaged_horizons}
        average = best_averaged(curves, spec.direction)
        if average is not None and average.step == step:
            self._best_weights["averaged"] = self._run.copy_averaged(average.horizon)

    def _judge(self, step: int) -> Outcome | None:
        """The outcome that the curve up to `step` decides, or None: go on."""
        if step == 0:
            return None
        fit = self._plan.fit
        if fit is not None:
            curve = self._curve(TRAIN_SAMPLE, fit.metric)
            if curve and curve[-1][0] == step and curve[-1][1] <= fit.at_most:
                return Outcome("complete", "fitted")
        dense = self._plan.kind == "instability_probe"
        if is_diverged(
            self._curve(TRAIN_SAMPLE, "loss"), initial_loss=self._prepared.initial_loss, at_every_step=dense
        ):
            return Outcome("infeasible", "diverged")
        if fit is not None and self._plan.stop_when_dominated:
            bound = self._store.stop_step(self._claim.study, self._plan.name)
            if bound is not None and step >= bound:
                return Outcome("stopped", "dominated")
        return None

    def _curve(self, split: str, metric: str) -> Curve:
        return tuple(self._curves[split, metric])

    # ------------------------------------------------------------ endings

    def _reach_target(self) -> Ending:
        if not self._plan.is_sweep:
            return self._end(Outcome("complete"))
        self._wait_for_files()
        # A rung of the sweep: the protocol decides whether this rate goes on.
        self._store.patience.work(lambda: self._store.pause_trial(self._claim.lease, progress=self._progress()))
        return "paused"

    def _end(self, outcome: Outcome) -> Ending:
        if outcome.kind == "complete" and self._saved_full_at != self._run.global_step:
            self._save()
        digest = None if outcome.kind == "stopped" else self._run.weights_digest()
        self._wait_for_files()
        self._store.patience.work(
            lambda: self._store.end_trial(self._claim.lease, outcome, weights_digest=digest, progress=self._progress())
        )
        return "ended"

    def _leave(self) -> Ending:
        if self._bench.control.lost.is_set():
            raise LeaseLost(f"trial {self._trial.trial}: another worker took over")
        if self._run.global_step not in (0, self._saved_full_at):
            self._save()
        self._wait_for_files()
        self._store.release(self._claim.lease)
        return "released"

    # ------------------------------------------------------------ files

    def _save(self) -> None:
        """The full state at this step, and the best weights that no file holds yet.

        Best weights wait in memory for the next checkpoint: a resume starts there and drops whatever came after.
        """
        with self._saving():
            self._writer.wait()  # Before the copy: never two of them in memory.
            files: dict[CheckpointKind, Copied] = {**self._best_weights, "full": self._run.copy_full()}
            progress = self._progress()
            self._writer.begin(lambda: self._store.patience.work(lambda: self._write(files, progress)))
        self._best_weights, self._saved_full_at = {}, self._run.global_step

    def _wait_for_files(self) -> None:
        with self._saving():
            self._writer.wait()

    def _write(self, files: Mapping[CheckpointKind, Copied], progress: Progress) -> None:
        """In the writer's thread: files first, then their rows."""
        self._store.add_checkpoint(
            self._claim.lease,
            *(self._written(kind, copied) for kind, copied in files.items()),
            keep_steps=self._keep,
            save_total_limit=self._prepared.execution.save_total_limit,
            progress=progress,
        )

    def _written(self, kind: CheckpointKind, copied: Copied) -> NewCheckpoint:
        step, paths = copied.global_step, self._store.paths
        path = paths.checkpoint(
            self._claim.study, self._trial.trial, global_step=step, kind=kind, epoch=self._claim.lease.epoch
        )
        saved = copied.save(path)
        return NewCheckpoint(
            global_step=step,
            kind=kind,
            path=str(path.relative_to(paths.home)),
            sha256=saved.sha256,
            weights_digest=saved.weights_digest,
            size_bytes=saved.size_bytes,
            recipe_key=self._prepared.key_at(step),
            numerics_key=self._prepared.numerics_key,
        )

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Counts what training waits for files and commits."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._saving_seconds += time.perf_counter() - began

    def _progress(self) -> Progress:
        seconds = {
            **self._run.seconds,
            "checkpoint": self._saving_seconds,
            "setup": self._setup_seconds,
        }
        return Progress(
            to_step=self._run.global_step, num_skipped_updates=self._run.num_skipped_updates, seconds=seconds
        )
