"""How long training waits for its checkpoints, written beside it and written in line, side by side.

    python tests/benchmarks/checkpoint_writer.py [--rounds 5] [--updates 40] [--every 10]

One training thread and a free core, as beside a GPU. Runs of the same shape take turns: without checkpoints, with full
states written by `CheckpointWriter`, and with the same files written before training goes on. Folders are on the disk
of the current folder. Wall clock of a round, its waits included; medians.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from step_speed import SHAPES, Shape, new_run, workload_of

from tuner.training.loop import CheckpointDue, train
from tuner.training.run import TrainingRun
from tuner.trials.checkpoint_writer import CheckpointWriter

BIG = Shape(hidden_size=768, num_layers=6, num_heads=12, batch_size=1, block_size=64, relative_updates=0.5)
Save = Callable[[CheckpointWriter, TrainingRun, Path], object]


def in_line(writer: CheckpointWriter, run: TrainingRun, path: Path) -> None:
    run.copy_full().save(path)


def beside(writer: CheckpointWriter, run: TrainingRun, path: Path) -> None:
    writer.wait()
    state = run.copy_full()
    writer.begin(lambda: state.save(path) and None)


def no_save(writer: CheckpointWriter, run: TrainingRun, path: Path) -> None:
    """What the others are held against."""


WAYS: dict[str, Save] = {"none": no_save, "beside": beside, "in line": in_line}


def seconds(run: TrainingRun, save: Save, folder: Path, *, updates: int, every: int) -> tuple[float, float]:
    """Wall clock of some updates, and what of it training waited for files; each file replaces the one before."""
    began, waited, start = time.perf_counter(), 0.0, run.global_step
    with CheckpointWriter() as writer:
        due = range(start + every, start + updates + 1, every)
        for event in train(run, until=start + updates, eval_steps=(), checkpoint_steps=due):
            if isinstance(event, CheckpointDue):
                stopped = time.perf_counter()
                save(writer, run, folder / "state.safetensors")
                waited += time.perf_counter() - stopped
        stopped = time.perf_counter()
        writer.wait()
        waited += time.perf_counter() - stopped
    return time.perf_counter() - began, waited


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--every", type=int, default=10)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; ", end="")
    print(f"{asked.rounds} rounds of {asked.updates} updates, a checkpoint every {asked.every}\n")
    print("| GPT-2 | state, MB | none, s | beside, s | in line, s | waited beside, s | waited in line, s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for shape in (*SHAPES, BIG):
            workload = workload_of(shape, Path(folder))
            run = new_run(workload, shape, 3 * asked.updates * (asked.rounds + 1))
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
            for number in range(asked.rounds + 1):
                for name, save in WAYS.items():
                    found = seconds(run, save, Path(folder), updates=asked.updates, every=asked.every)
                    if number:  # The first round warms up.
                        taken[name].append(found)
            size = (Path(folder) / "state.safetensors").stat().st_size / 1e6
            walls = " | ".join(f"{median(wall for wall, _ in rows):.2f}" for rows in taken.values())
            waits = " | ".join(f"{median(wait for _, wait in taken[name]):.3f}" for name in ("beside", "in line"))
            print(f"| {shape} | {size:.0f} | {walls} | {waits} |", flush=True)


if __name__ == "__main__":
    main()
