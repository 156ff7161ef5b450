"""Steps per second of the core, a bare PyTorch loop and transformers' Trainer, side by side.

    python tests/benchmarks/step_speed.py [--rounds 15] [--updates 80] [--only-averages]

One process, one thread, the same model, batches and arithmetic: fused AdamW, clipping at 1.0, a rate set before each
update. The bare loop takes its batches from a list in memory and does nothing else. Short rounds are interleaved, so
that a busy machine slows all three; the medians of all rounds are compared.

What averaged weights cost is measured update by update: a run without and one with two horizons take turns, and the
medians of their updates are compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import Trainer, TrainerCallback, TrainingArguments

from tuner.config.schema import CausalLMWorkload, CausalModel
from tuner.records import TRAIN_SAMPLE, EvalSpec, ExecutionSpec, OptimizerSpec, RunSpec, ScheduleSpec
from tuner.training.loop import train
from tuner.training.optimizer import decay_groups
from tuner.training.run import TrainingRun
from tuner.workloads.build import build_workload
from tuner.workloads.interface import Batch, Workload

RATE, WEIGHT_DECAY, MAX_NORM, WARM_UP = 1e-3, 0.01, 1.0, 10
# CPU time of the one thread: another program on the same machine moves it far less than wall time.
CLOCK = time.process_time
HORIZONS = (50, 200)
EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=64, num_train_examples=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A GPT-2 and its batch."""

    hidden_size: int
    num_layers: int
    num_heads: int
    batch_size: int
    block_size: int
    relative_updates: float

    def __str__(self) -> str:
        return f"{self.hidden_size} x {self.num_layers}, batch {self.batch_size} x {self.block_size}"


SHAPES = (
    Shape(hidden_size=64, num_layers=2, num_heads=2, batch_size=8, block_size=64, relative_updates=1.0),
    Shape(hidden_size=128, num_layers=4, num_heads=4, batch_size=16, block_size=128, relative_updates=0.25),
)


def workload_of(shape: Shape, cache: Path) -> Workload:
    model = CausalModel(hidden_size=shape.hidden_size, num_layers=shape.num_layers, num_heads=shape.num_heads)
    text = "python:pydoc_data.topics:topics"
    config = CausalLMWorkload(kind="causal_lm", text=text, block_size=shape.block_size, model=model)
    return build_workload(config, {}, folder=cache, cache=cache)


def new_run(workload: Workload, shape: Shape, updates: int, horizons: tuple[int, ...] = ()) -> TrainingRun:
    spec = RunSpec(
        seed=0,
        max_train_steps=updates,
        learning_rate=RATE,
        schedule=ScheduleSpec(kind="constant", warmup_steps=WARM_UP),
        optimizer=OptimizerSpec(name="adamw", weight_decay=WEIGHT_DECAY),
        max_grad_norm=MAX_NORM,
        precision="fp32",
        global_batch_size=shape.batch_size,
        eval_every_steps=updates,
    )
    execution = ExecutionSpec(
        device="cpu",
        torch_threads=1,
        micro_batch_size=shape.batch_size,
        checkpoint_every_steps=updates,
        log_every_steps=updates,
    )
    return TrainingRun(spec, replace(EVAL, averaged_horizons=horizons), execution, workload)


def batches_in_memory(workload: Workload, shape: Shape, updates: int) -> list[Batch]:
    generator = np.random.default_rng(0)
    count = workload.num_examples(TRAIN_SAMPLE)
    return [
        workload.batch(TRAIN_SAMPLE, generator.integers(0, count, shape.batch_size).astype(np.int64))
        for _ in range(updates)
    ]


def time_core(workload: Workload, shape: Shape, updates: int) -> float:
    """Seconds per update of our loop, after a warm-up."""
    run = new_run(workload, shape, updates)
    list(train(run, until=WARM_UP, eval_steps=(), checkpoint_steps=()))
    started = CLOCK()
    list(train(run, until=updates, eval_steps=(), checkpoint_steps=()))
    return (CLOCK() - started) / (updates - WARM_UP)


def time_bare(workload: Workload, shape: Shape, updates: int) -> float:
    """The same arithmetic, written out."""
    run = new_run(workload, shape, updates)
    model, batches = run.model, batches_in_memory(workload, shape, updates)
    decayed, spared = decay_groups(model)
    groups = [
        {"params": [p for _, p in decayed], "weight_decay": WEIGHT_DECAY},
        {"params": [p for _, p in spared], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)
    parameters = list(model.parameters())
    started = 0.0
    for step, batch in enumerate(batches):
        if step == WARM_UP:
            started = CLOCK()
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARM_UP)
        optimizer.zero_grad(set_to_none=True)
        logits = model(input_ids=batch["inputs"], use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimizer.step()
    return (CLOCK() - started) / (updates - WARM_UP)


class Clock(TrainerCallback):
    """Times a Trainer from its warm-up to its last update."""

    def __init__(self) -> None:
        self.started = self.ended = 0.0

    def on_step_end(self, args, state, control, **_) -> None:  # type: ignore[no-untyped-def]
        self.ended = CLOCK()
        if state.global_step == WARM_UP:
            self.started = self.ended


def time_trainer(workload: Workload, shape: Shape, updates: int) -> float:
    """Transformers' Trainer on ready batches, without logging, saving or evaluation."""
    data = [
        {"input_ids": batch["inputs"], "labels": batch["targets"]}
        for batch in batches_in_memory(workload, shape, updates)
    ]

    class ReadyBatches(Trainer):
        def get_train_dataloader(self) -> torch.utils.data.DataLoader:  # type: ignore[type-arg]
            return torch.utils.data.DataLoader(data, batch_size=None)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=updates,
            per_device_train_batch_size=shape.batch_size,
            learning_rate=RATE,
            weight_decay=WEIGHT_DECAY,
            max_grad_norm=MAX_NORM,
            warmup_steps=WARM_UP,
            optim="adamw_torch_fused",
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
        )
        clock = Clock()
        model = new_run(workload, shape, updates).model
        ReadyBatches(model=model, args=arguments, callbacks=[clock]).train()
    return (clock.ended - clock.started) / (updates - WARM_UP)


CONTESTANTS: dict[str, Callable[[Workload, Shape, int], float]] = {
    "core": time_core,
    "bare": time_bare,
    "Trainer": time_trainer,
}


def measure(shape: Shape, *, rounds: int, updates: int) -> dict[str, list[float]]:
    """Seconds per update of each contestant, round by round; a different one goes first in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    names = list(CONTESTANTS)
    with tempfile.TemporaryDirectory() as cache:
        workload = workload_of(shape, Path(cache))
        for number in range(rounds):
            for place in range(len(names)):
                name = names[(number + place) % len(names)]
                seconds[name].append(CONTESTANTS[name](workload, shape, updates))
    return seconds


def measure_averages(shape: Shape, updates: int) -> tuple[float, float]:
    """Median seconds of an update without averages and with two, taking turns; the first of each pair changes."""
    with tempfile.TemporaryDirectory() as cache:
        workload = workload_of(shape, Path(cache))
        runs = [new_run(workload, shape, updates, horizons) for horizons in ((), HORIZONS)]
        seconds: list[list[float]] = [[], []]
        for number in range(updates):
            for place in (number % 2, 1 - number % 2):
                started = CLOCK()
                runs[place].update()
                seconds[place].append(CLOCK() - started)
    plain, averaged = (statistics.median(each[WARM_UP:]) for each in seconds)
    return plain, averaged


def averages_table(updates: int, rounds: int) -> str:
    rows = [
        "| GPT-2 | without ms | with ms | overhead, median of rounds | smallest | largest |",
        "|---|---|---|---|---|---|",
    ]
    for shape in SHAPES:
        found = [measure_averages(shape, round(updates * shape.relative_updates)) for _ in range(rounds)]
        plain, averaged = (statistics.median(each) for each in zip(*found, strict=True))
        ratios = sorted(100 * (after / before - 1) for before, after in found)
        told = " | ".join(f"{value:.1f} %" for value in (statistics.median(ratios), ratios[0], ratios[-1]))
        rows.append(f"| {shape} | {1000 * plain:.2f} | {1000 * averaged:.2f} | {told} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--updates", type=int, default=80)
    parser.add_argument("--only-averages", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(averages_table(updates=5 * arguments.updates, rounds=max(1, arguments.rounds // 3)))
    if arguments.only_averages:
        return
    rows = ["| GPT-2 | core ms | bare ms | Trainer ms | core against bare | core against Trainer |"]
    rows.append("|---|---|---|---|---|---|")
    for shape in SHAPES:
        updates = max(2 * WARM_UP, round(arguments.updates * shape.relative_updates))
        seconds = measure(shape, rounds=arguments.rounds, updates=updates)
        core, bare, trainer = (statistics.median(seconds[name]) for name in CONTESTANTS)
        milliseconds = " | ".join(f"{1000 * value:.2f}" for value in (core, bare, trainer))
        rows.append(f"| {shape} | {milliseconds} | {bare / core:.3f} | {trainer / core:.3f} |")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
