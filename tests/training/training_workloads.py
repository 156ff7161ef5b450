"""Small workloads and specs that the training tests share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from tuner.config.schema import CausalLMWorkload, CausalModel, Split
from tuner.records import EvalSpec, ExecutionSpec, OptimizerSpec, RunSpec, ScheduleSpec
from tuner.training.run import TrainingRun
from tuner.workloads.build import build_workload
from tuner.workloads.interface import Workload

SPEC = RunSpec(
    seed=1,
    max_train_steps=100,
    learning_rate=3e-3,
    schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=10, decay_steps=30),
    optimizer=OptimizerSpec(name="adamw", weight_decay=0.1),
    max_grad_norm=1.0,
    precision="fp32",
    global_batch_size=8,
    eval_every_steps=25,
)
EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=16, num_train_examples=40, max_validation_examples=30)
EXECUTION = ExecutionSpec(
    device="cpu", torch_threads=1, micro_batch_size=8, checkpoint_every_steps=50, log_every_steps=10
)


def language_model(cache: Path, *, dropout: float = 0.1, architecture: str = "gpt2") -> Workload:
    """A model of 7,000 weights (a GPT-2's) on CPython's documentation."""
    config = CausalLMWorkload(
        kind="causal_lm",
        text="python:pydoc_data.topics:topics",
        block_size=16,
        model=CausalModel(architecture=architecture, hidden_size=16, num_layers=1, num_heads=2, dropout=dropout),
        split=Split(max_train_tokens=8000, max_validation_tokens=2000, max_test_tokens=2000),
    )
    return build_workload(config, {}, folder=cache, cache=cache)


def run_of(workload: Workload, *, micro_batch_size: int | None = None, **changes) -> TrainingRun:
    """A new run of `SPEC` with changes; micro-batches are the whole batch unless said."""
    spec = replace(SPEC, **changes)
    execution = replace(EXECUTION, micro_batch_size=micro_batch_size or spec.global_batch_size)
    return TrainingRun(spec, EVAL, execution, workload)


def advance(run: TrainingRun, until: int) -> TrainingRun:
    while run.global_step < until:
        run.update()
    return run


class Ragged:
    """Sequences of 1 to 12 tokens, padded; each token's target is the sum of it and the one before."""

    metrics = ("loss",)
    padding = -100

    def __init__(self, num_examples: int = 64) -> None:
        generator = np.random.default_rng(0)
        self.examples = [generator.integers(0, 10, generator.integers(1, 13)) for _ in range(num_examples)]

    def num_examples(self, split: str) -> int:
        return len(self.examples)

    def build_model(self) -> torch.nn.Module:
        embedding = torch.nn.Embedding(10, 12)
        return torch.nn.Sequential(embedding, torch.nn.Linear(12, 12), torch.nn.LayerNorm(12), torch.nn.Linear(12, 10))

    def batch(self, split, indices):
        rows = [self.examples[index] for index in indices]
        width = max(map(len, rows))
        inputs = np.zeros((len(rows), width), dtype=np.int64)
        targets = np.full((len(rows), width), self.padding)
        for number, row in enumerate(rows):
            inputs[number, : len(row)] = row
            targets[number, : len(row)] = (row + np.concatenate([[0], row[:-1]])) % 10
        return {"inputs": torch.from_numpy(inputs), "targets": torch.from_numpy(targets)}

    def num_targets(self, batch) -> int:
        return int((batch["targets"] != self.padding).sum())

    def loss_sum(self, model, batch):
        logits = model(batch["inputs"]).float()
        return F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), reduction="sum")

    def score_sums(self, model, batch):
        return {"loss": self.loss_sum(model, batch)}

    def recipe(self):
        return {"kind": "ragged", "num_examples": len(self.examples)}
