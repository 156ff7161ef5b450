"""`round_1.adjust: averaged` on real training: the averages that were measured decide whether the probe is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import SPEC, Points, Study, config_of

from tuner.protocol.probe import advance_round_1
from tuner.records import ClosePhase, Move, OpenPhase, OptimizerSpec, ScheduleSpec

STEPS = 100
NOISY_RATES, SLOW_RATES = (0.13, 0.15, 0.17, 0.19, 0.21), (0.04, 0.05, 0.06, 0.07, 0.08)
RUN = replace(
    SPEC,
    max_train_steps=STEPS,
    schedule=ScheduleSpec(kind="warmup_stable_decay", warmup_steps=2, decay_steps=STEPS // 5),
    optimizer=OptimizerSpec(name="sgd", weight_decay=0.0, momentum=0.0),
    global_batch_size=32,
    eval_every_steps=4,
)


class Mislabelled(Points):
    """Points of 32 coordinates for a linear model; a fifth of their labels are wrong, so that noise is what decays."""

    def load(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        chance = np.random.default_rng(0)
        points = chance.normal(size=(6000, 32)).astype(np.float32)
        labels = ((points.sum(1) > 0) ^ (chance.random(6000) < 0.2)).astype(np.int64)
        cuts = {"train": slice(0, 5000), "validation": slice(5000, 5900), "test": slice(5900, 6000)}
        return {split: (points[cut], labels[cut]) for split, cut in cuts.items()}

    def build_model(self) -> torch.nn.Module:
        return torch.nn.Linear(32, 2)


def judged(home: Path, rates: tuple[float, ...]) -> Move:
    """What the protocol does next with a round 1 of these rates, trained to its end."""
    specs = [replace(RUN, learning_rate=rate) for rate in rates]
    study = Study(home, *specs, workload=Mislabelled(), horizons=(8, 24), checkpoint_every_steps=1000)
    study.run()
    (phase,) = study.store.load("x").phases
    trials = tuple(replace(trial, params={"learning_rate": trial.spec.learning_rate}) for trial in phase.trials)
    assert all(trial.best_step == STEPS for trial in trials), "the decay pulls every best step to the end"
    phase = replace(phase, plan=replace(phase.plan, max_train_steps=STEPS), trials=trials)
    round_1 = {"adjust": "averaged", "min_gain": 0.1, "widen_at_edge": False}
    config = config_of()
    config = config.model_copy(update={"round_1": config.round_1.model_copy(update=round_1)})
    return advance_round_1(config, replace(study.store.load("x"), phases=(phase,)), phase=phase)


@pytest.mark.slow
def test_averages_that_have_all_that_the_decay_reaches_save_the_probe(home: Path) -> None:
    move = judged(home, NOISY_RATES)
    assert isinstance(move, ClosePhase)
    assert move.verdict == "adequate"
    assert "the probe is skipped: the averages had stopped to improve before the decay" in move.reason
    found = move.decisions[-1].numbers["averaged"]
    assert found["holds"]
    assert found["has_stopped"]
    assert found["decay_start"] == STEPS - STEPS // 5
    assert found["num_trials"] == len(NOISY_RATES)


@pytest.mark.slow
def test_averages_that_still_improve_leave_it_to_the_probe(home: Path) -> None:
    move = judged(home, SLOW_RATES)
    assert isinstance(move, OpenPhase)
    assert move.plan.name == "round_1.probe"
    assert len(move.trials) == len(SLOW_RATES)
