"""Real training by torch: pairs of random runs that agree up to a random step, interrupted anywhere and shared.

The one rule: what is compared is everything, curves, weights, optimizer and scaler, with the run trained alone; and for
each pair something is changed that must not be shared, and is not.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from campaign import Campaign

from tuner.config.canonical import config_to_json
from tuner.config.resolve import execution_spec
from tuner.config.schema import StudyConfig
from tuner.records import (
    EvalSpec,
    Evaluation,
    Fork,
    OpenPhase,
    OptimizerSpec,
    PhasePlan,
    RunSpec,
    ScheduleSpec,
    TrialPlan,
    TrialRecord,
)
from tuner.storage.store import Owner, Start, Store
from tuner.training.loop import Evaluated, train
from tuner.training.run import TrainingRun
from tuner.training.schedule import learning_rates
from tuner.trials.bench import Sharing
from tuner.trials.runner import run_trial
from tuner.trials.torch_bench import TorchBench

HERE, RAM = Path(__file__).parent, Path("/dev/shm")
EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=32, num_train_examples=40)
ME = Owner.of_this_process("worker 0")
RECIPES = ("seed", "precision", "data", "dropout", "optimizer", "clipping", "rate", "global batch")
NUMERICS = ("threads", "micro-batch")


@dataclass(frozen=True)
class StopAt:
    """Interrupts each life of a trial before one of its updates, as long as there are numbers left."""

    lives: list[int]
    stop: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)

    def is_interrupted(self) -> bool:
        if not self.lives:
            return False
        self.lives[0] -= 1
        if self.lives[0] < 0:
            self.lives.pop(0)
            return True
        return False


class Phase:
    """A study of one phase of torch's trials, run in this process by the real runner and store."""

    def __init__(self, name: str, specs: tuple[RunSpec, ...], execution: Mapping[str, Any]) -> None:
        self.name, self.store = name, common_store()
        self.store.create_study(name, config=config_to_json(config_of(execution)), folder="", command="tuner run")
        steps = max(spec.max_train_steps for spec in specs)
        plan = PhasePlan(name="round_1", kind="round_1", max_train_steps=steps, eval=EVAL)
        trials = tuple(TrialPlan(number=number, params={}, spec=spec) for number, spec in enumerate(specs))
        self.store.apply(self.store.acquire_planner(name, ME), OpenPhase(plan=plan, trials=trials))

    def bench(self, execution: Mapping[str, Any], *, lives: list[int]) -> TorchBench:
        """A worker's bench, without TensorBoard; workloads are built once per process."""
        bench = TorchBench(
            self.store,
            config_of(execution),
            folder=HERE,
            device="cpu",
            sharing=Sharing(),
            control=StopAt(lives),  # type: ignore[arg-type]
        )
        bench._workloads = WORKLOADS
        bench.monitor = lambda prepared, folder, *, from_step: Unwatched()  # type: ignore[method-assign,assignment]
        return bench

    def run(self, bench: TorchBench, *, trials: int) -> None:
        """Run the first so many trials to their ends, however often they are interrupted."""
        for _ in range(20):
            if sum(trial.is_ended for trial in self.trials()) >= trials:
                return
            claim = self.store.claim(self.name, ME)
            assert claim is not None
            run_trial(claim, bench)
        raise AssertionError("the trials go on for ever")

    def start(self, bench: TorchBench) -> Start:
        """Where the next trial would start with this bench; it is left as it is found."""
        claim = self.store.claim(self.name, ME)
        assert claim is not None
        prepared = bench.prepare(claim.trial, EVAL)
        start = self.store.begin_attempt(
            claim.lease,
            static_digest=prepared.static_digest,
            numerics=prepared.numerics,
            numerics_key=prepared.numerics_key,
            eval_key=prepared.eval_key,
            key_at=prepared.key_at,
            share=True,
        )
        self.store.fail_trial(claim.lease, "only looked", is_final=True)
        return start

    def trials(self) -> list[TrialRecord]:
        return list(self.store.load(self.name, with_curves=False).trials())

    def result(self, trial: int) -> tuple[Any, ...]:
        """What a trial came to: its weights, the file of its whole last state, and every value of its curve."""
        record = self.trials()[trial]
        # A run that is all of it another's past has no file of its own.
        makers = [record.trial] if record.forked_from is None else [record.trial, record.forked_from.trial]
        files = [file for maker in makers for file in self.store.checkpoints(maker)]
        state = next(file.sha256 for file in files if file.kind == "full" and file.global_step == record.last_step)
        return record.last_step, record.weights_digest, state, in_order(self.store.evaluations(record.trial))

    def forget(self) -> None:
        """Remove the files; the rows are few."""
        for record in self.trials():
            for file in self.store.checkpoints(record.trial):
                self.store.paths.resolve(file.path).unlink(missing_ok=True)


class Unwatched:
    """Logs nothing."""

    def after_update(self) -> None: ...

    def after_evaluation(self, evaluations: object) -> None: ...

    def close(self) -> None: ...


def compare_pair(seed: int, folder: Path) -> None:
    """Two runs that share a past, interrupted at random, equal those trained alone; a changed one shares nothing."""
    chance = random.Random(f"exactness {seed}")
    first, second, execution = random_pair(chance, seed)
    longer = replace(first, max_train_steps=first.max_train_steps + 10, fork_steps=())
    kind = (RECIPES + NUMERICS)[seed % len(RECIPES + NUMERICS)]
    control = longer if kind in NUMERICS else changed(longer, kind)
    phase = Phase(folder.name, (first, second, longer, control), execution)
    lives = [chance.randrange(1, first.max_train_steps) for _ in range(chance.choice((1, 1, 2)))]
    bench = phase.bench(execution, lives=lives)
    phase.run(bench, trials=1)
    donors = full_steps(phase, trial=0)
    lives[:] = [chance.randrange(1, second.max_train_steps)]
    phase.run(bench, trials=2)
    for trial, spec in enumerate((first, second)):
        assert phase.result(trial) == trained_alone(spec, bench, folder), f"trial {trial} is not what it is alone"
    step, donor = deepest_shared(first, second, donors), phase.trials()[0].trial
    assert phase.trials()[1].forked_from == (None if step is None else Fork(donor, step))
    # The negative control means something only where its unchanged twin does share.
    assert phase.start(bench).checkpoint is not None
    other = numerics_changed(execution, kind) if kind in NUMERICS else execution
    start = phase.start(phase.bench(other, lives=[]))
    assert (start.from_step, start.checkpoint, start.forked_from) == (0, None, None), f"{kind} was shared"
    phase.forget()


def trained_alone(spec: RunSpec, bench: TorchBench, folder: Path) -> tuple[Any, ...]:
    """What a run comes to that is trained straight through by the loop alone, without store or runner."""
    execution = execution_spec(bench.config, device="cpu", eval_every_steps=spec.eval_every_steps)
    run = TrainingRun(spec, EVAL, execution, bench.workload(spec.workload_options))
    curve: list[Evaluation] = []
    for event in train(run, until=spec.max_train_steps, eval_steps=frozenset(spec.eval_steps()), checkpoint_steps=()):
        assert isinstance(event, Evaluated)
        curve.extend(event.evaluations)
    state = run.copy_full().save(folder / f"{spec.max_train_steps}.safetensors")
    return run.global_step, run.weights_digest(), state.sha256, in_order(curve)


def in_order(rows: Iterable[Evaluation]) -> list[Evaluation]:
    """Rows by step, split and metric."""
    return sorted(rows, key=lambda row: (row.global_step, row.split, row.metric))


def random_pair(chance: random.Random, seed: int) -> tuple[RunSpec, RunSpec, dict[str, Any]]:
    """Two runs of one static recipe and one warmup, of their own lengths and decays; and how they are carried out."""
    name = chance.choice(("adamw", "sgd"))
    optimizer = OptimizerSpec(
        name=name,  # type: ignore[arg-type]
        weight_decay=chance.choice((0.0, 0.1)),
        beta1=chance.choice((0.9, 0.5)),
        momentum=chance.choice((0.0, 0.9)),
    )
    warmup, every = chance.randrange(3), chance.choice((4, 5, 6))
    base = RunSpec(
        seed=2 * seed,  # Odd ones are the changed runs' own.
        max_train_steps=20,
        learning_rate=chance.choice((0.002, 0.01, 0.03)),
        schedule=ScheduleSpec(kind="constant", warmup_steps=warmup),
        optimizer=optimizer,
        max_grad_norm=chance.choice((None, 0.5, 1.0)),
        precision=chance.choice(("fp32", "bf16", "fp16")),
        global_batch_size=8,
        eval_every_steps=every,
        workload_options={"dropout": chance.choice((0.0, 0.2)), "data_seed": 0},
    )
    first, second = (random_horizon(chance, base) for _ in range(2))
    first = replace(first, fork_steps=(chance.randrange(1, first.max_train_steps),))
    execution = {
        "micro_batch_size": chance.choice((8, 8, 4, 2)),
        "checkpoint_every_steps": chance.randrange(4, 10),
        "torch_threads": 1,
    }
    return first, second, execution


def random_horizon(chance: random.Random, base: RunSpec) -> RunSpec:
    """The run with a length and a schedule of its own; its warmup stays."""
    steps, warmup = chance.randrange(8, 19), base.schedule.warmup_steps
    kind = chance.choice(("constant", "warmup_stable_decay", "warmup_stable_decay", "linear", "cosine"))
    decay = chance.randrange(1, steps - warmup) if kind == "warmup_stable_decay" else 0
    shape = chance.choice(("linear", "1-sqrt", "cosine"))
    schedule = ScheduleSpec(kind=kind, warmup_steps=warmup, decay_steps=decay, decay_shape=shape)  # type: ignore[arg-type]
    return replace(base, max_train_steps=steps, schedule=schedule)


def changed(spec: RunSpec, kind: str) -> RunSpec:
    """The same run but for one thing that shapes the weights."""
    options = spec.workload_options
    if kind == "optimizer":
        return replace(spec, optimizer=replace(spec.optimizer, weight_decay=spec.optimizer.weight_decay + 1e-9))
    return replace(
        spec,
        **{
            "seed": {"seed": spec.seed + 1},
            "precision": {"precision": "fp32" if spec.precision != "fp32" else "bf16"},
            "data": {"workload_options": {**options, "data_seed": 1}},
            "dropout": {"workload_options": {**options, "dropout": 0.25}},
            "clipping": {"max_grad_norm": None if spec.max_grad_norm else 1.0},
            "rate": {"learning_rate": float(np.nextafter(spec.learning_rate, 1.0))},
            "global batch": {"global_batch_size": 16},
        }[kind],
    )


def numerics_changed(execution: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The same execution but for one thing that the bits depend on."""
    if kind == "threads":
        return {**execution, "torch_threads": 2}
    return {**execution, "micro_batch_size": 4 if execution["micro_batch_size"] != 4 else 8}


def deepest_shared(donor: RunSpec, run: RunSpec, steps: list[int]) -> int | None:
    """The deepest of the donor's states that is the run's own past, by comparing rates and steps of evaluation."""
    rates = [learning_rates(spec, 0, spec.max_train_steps) for spec in (donor, run)]
    usable = [
        step
        for step in steps
        if step <= run.max_train_steps
        and np.array_equal(rates[0][:step], rates[1][:step])
        and {at for at in run.eval_steps() if at <= step} <= set(donor.eval_steps())
    ]
    return max(usable, default=None)


def full_steps(phase: Phase, *, trial: int) -> list[int]:
    """Where full states of a trial are kept."""
    record = phase.trials()[trial]
    return [file.global_step for file in phase.store.checkpoints(record.trial) if file.kind == "full"]


def config_of(execution: Mapping[str, Any]) -> StudyConfig:
    """A study of the workload, carried out in a given way."""
    return StudyConfig.model_validate(
        {
            "study": "x",
            "workload": {"kind": "python", "class": "clouds:Clouds"},
            "training": {"global_batch_size": 8},
            "budget": {"max_steps": 1000},
            "search_space": {"learning_rate": {"low": 1e-3, "high": 1e-1, "scale": "log"}},
            "execution": {"device": "cpu", **execution},
        }
    )


@cache
def common_store() -> Store:
    """One database for all pairs of this process: what SQLAlchemy has prepared once serves them all.

    Pairs cannot share with each other: their seeds differ.
    """
    home = Path(tempfile.mkdtemp(prefix="tuner-pairs-", dir=RAM if os.access(RAM, os.W_OK) else None))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return Store.open(None, home)


WORKLOADS: dict[Any, Any] = {}
"""By options, for all seeds of a process: data is loaded once."""

CAMPAIGNS = (
    Campaign(
        name="fork-exactness",
        promise="forked and interrupted runs equal those trained alone, all of their state; changed ones share nothing",
        num_ci=20,
        num_full=1000,
        run=compare_pair,
    ),
)
