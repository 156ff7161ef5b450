"""Trials run in this process by the real runner: a store, a bench of torch, and a phase of given specs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.records import (
    Answer,
    EvalSpec,
    OpenPhase,
    OptimizerSpec,
    PhasePlan,
    RunSpec,
    ScheduleSpec,
    TrialPlan,
    TrialRecord,
)
from tuner.storage.store import Lease, Owner, Store
from tuner.trials.bench import Control, Sharing
from tuner.trials.runner import run_trial
from tuner.trials.torch_bench import TorchBench
from tuner.workloads.classification import ArrayClassification

SPEC = RunSpec(
    seed=3,
    max_train_steps=20,
    learning_rate=1e-2,
    schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=2, decay_steps=6),
    optimizer=OptimizerSpec(name="adamw", weight_decay=0.01),
    max_grad_norm=1.0,
    precision="fp32",
    global_batch_size=16,
    eval_every_steps=3,
)
EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=50, num_train_examples=100)
ME = Owner.of_this_process("worker 0")


class Points(ArrayClassification):
    """200 points in the plane, on the two sides of a line, told apart with dropout."""

    def __init__(self, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = dropout

    def load(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        points = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
        labels = (points.sum(1) > 0).astype(np.int64)
        cuts = {"train": slice(0, 200), "validation": slice(200, 250), "test": slice(250, 300)}
        return {split: (points[cut], labels[cut]) for split, cut in cuts.items()}

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Dropout(self.dropout), torch.nn.Linear(8, 2)
        )


def config_of(**execution: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "study": "x",
            "workload": {"kind": "python", "class": "in_process:Points"},
            "budget": {"max_steps": 1000},
            "search_space": {"learning_rate": {"low": 1e-3, "high": 1e-1, "scale": "log"}},
            "execution": {"device": "cpu", "checkpoint_every_steps": 6, **execution},
        }
    )


class NothingWatches:
    """Stands for TensorBoard, whose import takes a second."""

    def after_update(self) -> None: ...

    def after_evaluation(self, evaluations: object) -> None: ...

    def close(self) -> None: ...


class Study:
    """One open phase whose trials this process runs."""

    def __init__(
        self,
        home: Path,
        *specs: RunSpec,
        name: str = "x",
        workload: Any = None,
        horizons: tuple[int, ...] = (),
        **execution: Any,
    ) -> None:
        self.store, self.name = Store.open(None, home), name
        self.config = config_of(**execution).model_copy(update={"study": name})
        self.warnings: list[str] = []
        self.eval = replace(EVAL, averaged_horizons=horizons)
        self.workload = workload or Points()
        self.store.create_study(name, config=config_to_json(self.config), folder=str(home), command="tuner run x.yaml")
        self.planner: Lease = self.store.acquire_planner(name, ME)
        self.open("round_1", *(specs or (SPEC,)))
        self.bench = self.new_bench()

    def open(self, phase: Literal["round_1", "round_2"], *specs: RunSpec) -> None:
        """Open a phase with a trial for each spec."""
        plan = PhasePlan(name=phase, kind=phase, max_train_steps=SPEC.max_train_steps, eval=self.eval)
        trials = tuple(TrialPlan(number=number, params={}, spec=spec) for number, spec in enumerate(specs))
        self.store.apply(self.planner, OpenPhase(plan=plan, trials=trials))

    def new_bench(self, **sharing: bool) -> TorchBench:
        """A worker that knows nothing yet."""
        bench = TorchBench(
            self.store,
            self.config,
            folder=self.store.paths.home,
            device="cpu",
            sharing=Sharing(**sharing),
            control=Control(),
        )
        bench.on_warning = self.warnings.append
        bench.monitor = lambda prepared, folder, *, from_step: NothingWatches()
        bench._workloads[()] = self.workload
        return bench

    def step(self) -> str | None:
        """Take up the next trial and leave it; None if there is none."""
        claim = self.store.claim(self.name, ME)
        return None if claim is None else run_trial(claim, self.bench)

    def run(self, *, at_most: int = 20) -> list[TrialRecord]:
        """Until no trial is left, or too many tries."""
        for _ in range(at_most):
            if self.step() is None:
                return self.trials()
        raise AssertionError(f"still not done after {at_most} tries: {self.warnings}")

    def stop_at(self, step: int) -> str | None:
        """Take up the next trial and have it interrupted after the evaluation at `step`."""

        def interrupt(trial: int, at: int) -> None:
            if at >= step:
                self.bench.control.stop.set()

        self.bench.on_progress = interrupt
        ending = self.step()
        self.bench.control.stop.clear()
        self.bench.on_progress = lambda trial, at: None
        return ending

    def trials(self) -> list[TrialRecord]:
        return list(self.store.load(self.name, with_curves=False).trials())

    def results(self) -> list[tuple[Any, ...]]:
        """What must not depend on how a trial came to its end: outcome, digest, best step, and the whole curve."""
        return [
            (
                *(trial.outcome, trial.last_step, trial.best_step, trial.best_value, trial.weights_digest),
                *self.store.evaluations(trial.trial),
            )
            for trial in self.trials()
        ]

    def close(self) -> None:
        self.store.close()


def longer(spec: RunSpec, steps: int) -> RunSpec:
    """The same run with a longer plateau."""
    return replace(spec, max_train_steps=spec.max_train_steps + steps)


def answer_of(trial: TrialRecord, **more: Any) -> Answer:
    """The answer of a study whose best trial this is."""
    assert trial.best_step is not None
    assert trial.best_value is not None
    return Answer(
        max_train_steps=trial.spec.max_train_steps,
        verdict="undecided",
        best_trial=trial.trial,
        best_step=trial.best_step,
        best_value=trial.best_value,
        metric="loss",
        params={},
        sharing="exact",
        **more,
    )
