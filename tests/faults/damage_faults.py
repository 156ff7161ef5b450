"""Damaged checkpoint files: bytes flipped or zeroed, files cut short, swapped or deleted, at random places.

The one rule: whatever was done to its files, a stored, interrupted study ends as the undisturbed one, bit for bit.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from campaign import Campaign
from numpy_trainer import ToyBench
from toy_study import SHORT, ToyStudy, kill_group, reference_of
from yaml import safe_load

from tuner.config.canonical import config_to_json
from tuner.config.schema import StudyConfig
from tuner.records import EvalSpec, OpenPhase, OptimizerSpec, PhasePlan, RunSpec, ScheduleSpec, TrialPlan
from tuner.storage.store import Owner, Store
from tuner.training.durable import CheckpointDamaged, require_whole
from tuner.trials.bench import Control, Sharing
from tuner.trials.best_weights import whole_best_weights
from tuner.trials.runner import run_trial

RAM = Path("/dev/shm")
WHOLE_RESUME_EVERY, REAL_FILE_EVERY = 40, 5
PAGE = 64
"""Bytes zeroed at once: the toy's files are smaller than a page of the disk."""

EVAL = EvalSpec(metric="loss", direction="minimize", batch_size=64, num_train_examples=100)
TRUNK = RunSpec(
    seed=1,
    max_train_steps=60,
    learning_rate=0.1,
    schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=3, decay_steps=18),
    optimizer=OptimizerSpec(name="sgd", weight_decay=0.0, momentum=0.5),
    max_grad_norm=None,
    precision="fp32",
    global_batch_size=16,
    eval_every_steps=12,
)
SPECS = (
    TRUNK,
    replace(TRUNK, learning_rate=0.05),
    replace(TRUNK, max_train_steps=96),
    replace(TRUNK, max_train_steps=132),
)
"""A trunk, one that shares with nobody, and two longer runs that fork from the trunk or from each other."""
STOPS = (48, 60, 78, 84)
"""Where the third of them was interrupted, the first two being done."""


class Phase:
    """One phase of toy trials in a home folder, run in this process by the real runner and store."""

    def __init__(self, home: Path, *, is_new: bool = False) -> None:
        self.store = Store.open(None, home)
        self.config = StudyConfig.model_validate(safe_load(SHORT.replace("20, device", "24, device")))
        self.owner = Owner.of_this_process("worker 0")
        self.warnings: list[str] = []
        if is_new:
            self.store.create_study("toy", config=config_to_json(self.config), folder=str(home), command="tuner run")
            plan = PhasePlan(name="round_1", kind="round_1", max_train_steps=132, eval=EVAL)
            trials = tuple(TrialPlan(number=number, params={}, spec=spec) for number, spec in enumerate(SPECS))
            lease = self.store.acquire_planner("toy", self.owner)
            self.store.apply(lease, OpenPhase(plan=plan, trials=trials))
            self.store.release(lease)
        self.bench = ToyBench(self.store, self.config, Sharing(), Control())
        self.bench.on_warning = self.warnings.append

    def step(self, *, until: int | None = None) -> str | None:
        """Take up the next trial, perhaps only `until` a step, and leave it; None if there is none."""
        claim = self.store.claim("toy", self.owner)
        if claim is None:
            return None
        stop = self.bench.control.stop
        self.bench.on_progress = lambda trial, step: stop.set() if until is not None and step >= until else None
        ending = run_trial(claim, self.bench)
        stop.clear()
        return ending

    def finish(self) -> None:
        """Until no trial is left."""
        for _ in range(30):
            if self.step() is None:
                return
        raise AssertionError(f"the study goes on for ever: {self.warnings}")

    def results(self) -> list[Any]:
        """What each trial came to: its outcome, digest, curve, and the score of its best weights on the test set."""
        found = []
        for trial in self.store.load("toy", with_curves=False).trials():
            best = whole_best_weights(self.bench, trial, EVAL)  # type: ignore[arg-type]
            assert best is not None, f"trial {trial.trial} has lost its best weights: {self.warnings}"
            told = (trial.outcome, trial.last_step, trial.best_step, trial.best_value, trial.weights_digest)
            test = self.bench.test_values(trial, EVAL, best)
            found.append((told, self.store.evaluations(trial.trial), test))
        return found


def damage_files(seed: int, folder: Path) -> None:
    """One to three damages, then on to the end; a share of the seeds with planner and workers, or on torch's files."""
    chance = random.Random(f"damage {seed}")
    if seed % WHOLE_RESUME_EVERY == WHOLE_RESUME_EVERY - 1:
        resume_whole_study(chance, folder)
        return
    if seed % REAL_FILE_EVERY == 0:
        refuse_real_file(chance, folder)
    # In memory where there is such a place: what is looked at is damage, not how long a disk takes.
    with tempfile.TemporaryDirectory(dir=RAM if os.access(RAM, os.W_OK) else folder) as home:
        try:
            finish_damaged(chance, Path(home) / "runs")
        except BaseException:
            shutil.copytree(home, folder / "kept")
            raise


def finish_damaged(chance: random.Random, home: Path) -> None:
    """Damage the files of an interrupted study, and take it to its end in this process."""
    shutil.copytree(interrupted(chance.choice(STOPS)), home)
    phase = Phase(home)
    damaged = damage(chance, sorted((home / "checkpoints").rglob("*.safetensors")))
    for trial in range(1, len(SPECS) + 1):
        for file in phase.store.checkpoints(trial):
            if phase.store.paths.resolve(file.path) in damaged:
                require_noticed(phase.store.paths.resolve(file.path), file.sha256)
    phase.finish()
    assert phase.results() == undisturbed()
    for path in damaged:
        assert path.exists() or path.with_name(f"{path.name}.damaged").exists() == any(
            f"{path} " in warning and "set aside as" in warning for warning in phase.warnings
        )
    phase.store.close()


def resume_whole_study(chance: random.Random, folder: Path) -> None:
    """The group is killed, files are damaged, and the study is resumed by planner and workers."""
    study, reference = ToyStudy(folder), reference_of()
    life = study.start("--workers", "2")
    study.wait_for_writes(life, int((0.3 + 0.6 * chance.random()) * reference.num_writes()))
    kill_group(life)
    damage(chance, sorted((study.home / "checkpoints").rglob("*.safetensors")))
    study.finish("--workers", "2")
    assert study.rows() == reference.rows()


def refuse_real_file(chance: random.Random, folder: Path) -> None:
    """A checkpoint of torch's tensors that was damaged is never read."""
    from tuner.training.checkpoint import read_checkpoint

    source, sha256 = real_file()
    path, other = folder / "real.safetensors", folder / "other.safetensors"
    shutil.copy(source, path)
    other.write_bytes(source.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    read_checkpoint(path, sha256=sha256)
    damage_one(chance, path, [path, other])
    try:
        read_checkpoint(path, sha256=sha256)
    except CheckpointDamaged:
        return
    raise AssertionError("a damaged file was read")


def damage(chance: random.Random, files: list[Path]) -> set[Path]:
    """Damage one to three of the files; which are not what they were."""
    before = {path: path.read_bytes() for path in files}
    chosen = chance.sample(files, min(len(files), chance.choice((1, 1, 2, 3))))
    # Every other time the very state that the interrupted trial goes on from.
    begun = [path for path in files if ".full." in path.name and path.parent == files[-1].parent]
    if begun and chance.random() < 0.5:
        chosen[0] = begun[-1]
    for path in chosen:
        if path.exists():
            damage_one(chance, path, [other for other in files if other.exists()])
    return {path for path in files if not path.exists() or path.read_bytes() != before[path]}


def damage_one(chance: random.Random, path: Path, files: list[Path]) -> None:
    """Do one thing to a file; it is not what it was then."""
    data = bytearray(path.read_bytes())
    kind = chance.choice(("flip", "truncate", "zero", "swap", "delete"))
    others = [other for other in files if other.read_bytes() != data]
    if kind == "delete":
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(data[: chance.randrange(len(data))])
    elif kind == "swap" and others:
        other = chance.choice(others)
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:
        place = chance.randrange(len(data))
        start = place - place % PAGE
        page = data[start : start + PAGE]
        if kind == "zero" and any(page):
            data[start : start + PAGE] = bytes(len(page))
        else:
            data[place] ^= 1 << chance.randrange(8)
        path.write_bytes(data)


def require_noticed(path: Path, sha256: str) -> None:
    """A damaged file is known as such.

    Raises:
        AssertionError: it is not.
    """
    try:
        require_whole(path, sha256)
    except CheckpointDamaged:
        return
    raise AssertionError(f"{path} was damaged, and nobody noticed")


@cache
def interrupted(stop: int) -> Path:
    """The home of a study whose third trial was interrupted at a step; made once per process."""
    home = Path(tempfile.mkdtemp(prefix="tuner-interrupted-"))
    phase = Phase(home, is_new=True)
    phase.step()
    phase.step()
    phase.step(until=stop)
    phase.store.close()
    return home


@cache
def undisturbed() -> list[Any]:
    """What the trials come to without any damage, and without sharing."""
    phase = Phase(Path(tempfile.mkdtemp(prefix="tuner-undisturbed-")), is_new=True)
    phase.bench.sharing = Sharing(share=False)
    phase.finish()
    assert phase.warnings == []
    return phase.results()


@cache
def real_file() -> tuple[Path, str]:
    """A file as torch's runs write them, and its digest."""
    import torch

    from tuner.training.checkpoint import write_checkpoint

    path = Path(tempfile.mkdtemp(prefix="tuner-real-")) / "real.safetensors"
    tensors = {f"model.{name}": torch.arange(300.0) for name in "ab"}
    sha256, _ = write_checkpoint(path, tensors, {"kind": "full", "global_step": 3})
    return path, sha256


CAMPAIGNS = (
    Campaign(
        name="checkpoint-damaged",
        promise="noticed, set aside, never used, never fatal; equal to the undisturbed study",
        num_ci=40,
        num_full=2000,
        run=damage_files,
    ),
)
