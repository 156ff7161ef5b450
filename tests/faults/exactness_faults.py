"""Real training by torch: pairs of random runs that agree up to a random step, interrupted anywhere and shared.

The one rule: what is compared is everything, curves, weights, optimizer and scaler, with the run trained alone; and for
each pair something is changed that must not be shared, and is not.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from campaign import Campaign

from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.records import (
    EvalSpec,
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
    """One phase of torch's trials, run in this process by the real runner and store."""

    def __init__(self, home: Path, specs: tuple[RunSpec, ...], execution: Mapping[str, Any]) -> None:
        shutil.copytree(empty_home(), home)
        self.store = Store.open(None, home)
        self.store.create_study("x", config=config_to_json(config_of(execution)), folder="", command="tuner run")
        steps = max(spec.max_train_steps for spec in specs)
        plan = PhasePlan(name="round_1", kind="round_1", max_train_steps=steps, eval=EVAL)
        trials = tuple(TrialPlan(number=number, params={}, spec=spec) for number, spec in enumerate(specs))
        self.store.apply(self.store.acquire_planner("x", ME), OpenPhase(plan=plan, trials=trials))

    def bench(self, execution: Mapping[str, Any], *, share: bool, lives: list[int]) -> TorchBench:
        """A worker's bench, without TensorBoard; workloads are built once per process."""
        bench = TorchBench(
            self.store,
            config_of(execution),
            folder=HERE,
            device="cpu",
            sharing=Sharing(share=share),
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
            claim = self.store.claim("x", ME)
            assert claim is not None
            run_trial(claim, bench)
        raise AssertionError("the trials go on for ever")

    def start(self, bench: TorchBench) -> Start:
        """Where the next trial would start with this bench; it is left as it is found."""
        claim = self.store.claim("x", ME)
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
        return list(self.store.load("x", with_curves=False).trials())

    def result(self, trial: int) -> tuple[Any, ...]:
        """All that a trial came to: outcome, curve, weights, and the digest of its whole last state."""
        record = self.trials()[trial]
        last = [file.sha256 for file in self.store.checkpoints(record.trial) if file.global_step == record.last_step]
        told = (record.outcome, record.last_step, record.best_step, record.best_value, record.weights_digest)
        return (*told, sorted(set(last)), self.store.evaluations(record.trial))


class Unwatched:
    """Logs nothing."""

    def after_update(self) -> None: ...

    def after_evaluation(self, evaluations: object) -> None: ...

    def close(self) -> None: ...


def compare_pair(seed: int, folder: Path) -> None:
    """Two runs that share a past, interrupted at random, equal the same two trained alone; changed ones share nothing."""
    chance = random.Random(f"exactness {seed}")
    first, second, execution = random_pair(chance)
    longer = replace(first, max_train_steps=first.max_train_steps + 10, fork_steps=())
    kind = (RECIPES + NUMERICS)[seed % len(RECIPES + NUMERICS)]
    control = longer if kind in NUMERICS else changed(longer, kind)
    with tempfile.TemporaryDirectory(dir=RAM if os.access(RAM, os.W_OK) else folder) as home:
        shared = Phase(Path(home) / "shared", (first, second, longer, control), execution)
        lives = [chance.randrange(1, first.max_train_steps) for _ in range(chance.choice((1, 2)))]
        bench = shared.bench(execution, share=True, lives=lives)
        shared.run(bench, trials=1)
        donors = full_steps(shared, trial=0)
        bench.control.lives[:] = [chance.randrange(1, second.max_train_steps)]  # type: ignore[attr-defined]
        shared.run(bench, trials=2)
        alone = Phase(Path(home) / "alone", (first, second), execution)
        alone.run(alone.bench(execution, share=False, lives=[]), trials=2)
        for trial in (0, 1):
            assert shared.result(trial) == alone.result(trial), f"trial {trial} is not what it is alone"
        step = deepest_shared(first, second, donors)
        assert shared.trials()[1].forked_from == (None if step is None else Fork(1, step))
        # The negative control means something only where its unchanged twin does share.
        assert shared.start(bench).checkpoint is not None
        other = numerics_changed(execution, kind) if kind in NUMERICS else execution
        start = shared.start(shared.bench(other, share=True, lives=[]))
        assert (start.from_step, start.checkpoint, start.forked_from) == (0, None, None), f"{kind} was shared"
        shared.store.close()
        alone.store.close()


def random_pair(chance: random.Random) -> tuple[RunSpec, RunSpec, dict[str, Any]]:
    """Two runs of one static recipe and one warmup, of their own lengths and decays; and how they are carried out."""
    name = chance.choice(("adamw", "sgd"))
    optimizer = OptimizerSpec(
        name=name,  # type: ignore[arg-type]
        weight_decay=chance.choice((0.0, 0.1)),
        beta1=chance.choice((0.9, 0.5)),
        momentum=chance.choice((0.0, 0.9)),
    )
    warmup, every = chance.randrange(4), chance.choice((3, 4, 5))
    base = RunSpec(
        seed=chance.randrange(1000),
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
        "micro_batch_size": chance.choice((8, 4, 2)),
        "checkpoint_every_steps": chance.randrange(3, 10),
        "torch_threads": 1,
    }
    return first, second, execution


def random_horizon(chance: random.Random, base: RunSpec) -> RunSpec:
    """The run with a length and a schedule of its own; its warmup stays."""
    steps, warmup = chance.randrange(10, 26), base.schedule.warmup_steps
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
def empty_home() -> Path:
    """A home with our tables and no study, made once per process: copying it is faster than making another."""
    home = Path(tempfile.mkdtemp(prefix="tuner-empty-"))
    Store.open(None, home).close()
    return home


WORKLOADS: dict[Any, Any] = {}
"""By options, for all seeds of a process: data is loaded once."""

CAMPAIGNS = (
    Campaign(
        name="fork-exactness",
        promise="forked and interrupted runs equal those trained alone, all of their state; changed ones share nothing",
        num_ci=50,
        num_full=1000,
        run=compare_pair,
    ),
)
