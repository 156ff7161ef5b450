"""A trainer whose weights are a hash chain over (static recipe, learning rates), and a worker that stores them.

Rule: whatever a run is at a step follows from its spec alone, so that exactness is equality of digests. The order of
the worker's writes is that of `tuner.trials.runner`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from tuner.analysis.best_steps import best
from tuner.records import TRAIN_SAMPLE, VALIDATION, Evaluation, OptimizerSpec, Outcome, RunSpec, ScheduleSpec
from tuner.storage.record_json import to_json
from tuner.storage.store import Claim, NewCheckpoint, Progress, Store
from tuner.training.schedule import kept_steps, learning_rates

NUMERICS = {"device": "cpu", "torch_threads": 1}
CHECKPOINT_EVERY = 7
SKIPPED_EVERY = 9
"""Every ninth update counts as skipped: the number must survive whatever happens."""


def make_spec(steps: int, *, rate: float, decay: int, every: int, fork_steps: tuple[int, ...] = ()) -> RunSpec:
    return RunSpec(
        seed=0,
        max_train_steps=steps,
        learning_rate=rate,
        schedule=ScheduleSpec(kind="warmup_stable_decay" if decay else "constant", warmup_steps=3, decay_steps=decay),
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
        max_grad_norm=1.0,
        precision="fp32",
        global_batch_size=16,
        eval_every_steps=every,
        fork_steps=fork_steps,
    )


def static_digest(spec: RunSpec) -> str:
    return hashlib.sha256(f"{spec.seed}/{spec.learning_rate}".encode()).hexdigest()


def weights(spec: RunSpec, step: int) -> str:
    """The weights after `step` undisturbed updates."""
    return _chain(to_json(spec))[step]


@lru_cache(maxsize=512)
def _chain(spec: str) -> tuple[str, ...]:
    from tuner.storage.rows import spec_of

    run = spec_of(spec)
    states = [hashlib.sha256(static_digest(run).encode()).hexdigest()]
    for rate in learning_rates(run, 0, run.max_train_steps):
        states.append(update(states[-1], float(rate)))
    return tuple(states)


def update(state: str, rate: float) -> str:
    """One update: all that came before, and this rate."""
    return hashlib.sha256(f"{state}/{rate.hex()}".encode()).hexdigest()


def loss(state: str, step: int, split: str) -> float:
    """Falls with the steps, wavers with the weights."""
    wavering = int(hashlib.sha256(f"{state}/{split}".encode()).hexdigest()[:8], 16) / 16**8
    return 3.0 * math.exp(-step / 25) + 0.6 * wavering


def recipe_keys(spec: RunSpec) -> Callable[[int], str]:
    def key_at(step: int) -> str:
        rates = learning_rates(spec, 0, step).astype("<f8").tobytes()
        return hashlib.sha256(bytes.fromhex(static_digest(spec)) + rates).hexdigest()

    return key_at


class DamagedError(Exception):
    """A file is not what its row says."""


class SyntheticRun:
    """One worker's try at one claimed trial; `advance` goes on to after its next durable operation.

    `written` receives the path of each file that is durable and not yet a row.
    """

    def __init__(self, store: Store, claim: Claim, *, share: bool, written: set[str]) -> None:
        self._store, self.claim, self._share, self._written = store, claim, share, written
        self.trial, self.lease, self.spec = claim.trial.trial, claim.lease, claim.trial.spec
        self.step, self.state, self.saved_at, self.is_over = 0, "", -1, False
        self.begun, self.latest = False, ""
        self.best_state: tuple[int, str] | None = None
        self._keys, self._keep = recipe_keys(self.spec), kept_steps(self.spec)
        self._curve: list[tuple[int, float]] = []
        self._files: list[NewCheckpoint] = []
        self._operations = self._life()

    def advance(self) -> None:
        """The next durable operation.

        Raises:
            LeaseLost: if another owns the trial.
        """
        self.latest = next(self._operations, "over")
        self.is_over = self.latest == "over"

    def leave(self) -> None:
        """Told to stop: save what is not saved, and give the trial back."""
        if self.begun and self.step not in (0, self.saved_at):
            for _ in self._save():
                pass
        self._store.release(self.lease)
        self.is_over = True

    def files_exist(self) -> bool:
        """Whether the files that it wrote last are there."""
        return all(self._store.paths.resolve(file.path).exists() for file in self._files)

    def _life(self) -> Iterator[str]:
        try:
            self._begin()
        except DamagedError:
            self._store.release(self.lease)
            return
        self.begun = True
        yield "begun"
        if self.step and (outcome := self._judge()) is not None:
            yield from self._end(outcome)
            return
        rates, evals = learning_rates(self.spec, 0, self.spec.max_train_steps), self.spec.eval_steps()
        while self.step < self.spec.max_train_steps:
            self.state = update(self.state, float(rates[self.step]))
            self.step += 1
            if self.step in evals:
                self._evaluate()
                yield "evaluated"
                if (outcome := self._judge()) is not None:
                    yield from self._end(outcome)
                    return
            if self.step % CHECKPOINT_EVERY == 0 or self.step in self._keep:
                yield from self._save()
        if self.claim.phase.is_sweep:
            self._store.pause_trial(self.lease, progress=self._progress())
        else:
            yield from self._end(Outcome("complete"))

    def _begin(self) -> None:
        start = self._store.begin_attempt(
            self.lease,
            static_digest=static_digest(self.spec),
            numerics=NUMERICS,
            numerics_key="n",
            eval_key="e",
            key_at=self._keys,
            share=self._share,
        )
        self.step, self.state = start.from_step, weights(self.spec, 0)
        if start.checkpoint is not None:
            path = self._store.paths.resolve(start.checkpoint.path)
            self.state, self.saved_at = read(path, start.checkpoint.sha256, step=self.step), self.step
        rows = self._store.evaluations(self.trial)
        self._curve = [(row.global_step, row.value) for row in rows if row.split == VALIDATION]

    def _evaluate(self) -> None:
        rows = [Evaluation(self.step, split, "loss", loss(self.state, self.step, split)) for split in SPLITS]
        self._store.record_evaluation(self.lease, rows, eval_key="e", progress=self._progress())
        self._curve.append((self.step, rows[1].value))
        found = best(tuple(self._curve), "minimize")
        if not self.claim.phase.is_sweep and found is not None and found[0] == self.step:
            self.best_state = (self.step, self.state)

    def _judge(self) -> Outcome | None:
        fit = self.claim.phase.fit
        if fit is None or self.step not in self.spec.eval_steps():
            return None
        if loss(self.state, self.step, TRAIN_SAMPLE) <= fit.at_most:
            return Outcome("complete", "fitted")
        bound = self._store.stop_step(self.claim.study, self.claim.phase.name)
        return Outcome("stopped", "dominated") if bound is not None and self.step >= bound else None

    def _end(self, outcome: Outcome) -> Iterator[str]:
        if outcome.kind == "complete" and self.saved_at != self.step:
            yield from self._save()
        digest = None if outcome.kind == "stopped" else self.state
        self._store.end_trial(self.lease, outcome, weights_digest=digest, progress=self._progress())

    def _save(self) -> Iterator[str]:
        held = self.best_state
        files = [] if held is None else [self._write("weights", *held)]
        files.append(self._write("full", self.step, self.state))
        self._files = files
        yield "written"
        self._store.add_checkpoint(self.lease, *files, keep_steps=self._keep, progress=self._progress())
        self._written.difference_update(file.path for file in files)
        self.best_state, self.saved_at = None, self.step
        yield "saved"

    def _write(self, kind: str, step: int, state: str) -> NewCheckpoint:
        paths = self._store.paths
        path = paths.checkpoint(
            self.claim.study,
            self.trial,
            global_step=step,
            kind=kind,  # type: ignore[arg-type]
            epoch=self.lease.epoch,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        data = json.dumps({"step": step, "state": state}).encode()
        path.write_bytes(data)
        self._written.add(str(path.relative_to(paths.home)))
        return NewCheckpoint(
            global_step=step,
            kind=kind,  # type: ignore[arg-type]
            path=str(path.relative_to(paths.home)),
            sha256=hashlib.sha256(data).hexdigest(),
            weights_digest=state,
            size_bytes=len(data),
            recipe_key=self._keys(step),
            numerics_key="n",
        )

    def _progress(self) -> Progress:
        return Progress(to_step=self.step, num_skipped_updates=self.step // SKIPPED_EVERY, seconds={"train": self.step})


SPLITS = (TRAIN_SAMPLE, VALIDATION)


def read(path: Path, sha256: str, *, step: int) -> str:
    """The weights in a file, which is set aside if it is not what was recorded.

    Raises:
        DamagedError: if it is not.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        path.rename(path.with_name(f"{path.name}.damaged"))
        raise DamagedError(path)
    held = json.loads(data)
    assert held["step"] == step, f"{path} holds step {held['step']}, not {step}"
    return str(held["state"])
