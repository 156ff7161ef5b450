"""Steps at a low rate, against the rates that training uses."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from tuner.analysis.low_rates import LOW_SHARE, low_share_of_extra_steps, num_low_rate_steps
from tuner.records import OptimizerSpec, RunSpec, ScheduleSpec
from tuner.training.schedule import learning_rates


def spec_of(steps: int, warmup: int, decay: int, shape: str = "linear") -> RunSpec:
    return RunSpec(
        seed=0,
        max_train_steps=steps,
        learning_rate=1.0,
        schedule=ScheduleSpec(
            kind="warmup_stable_decay" if decay else "constant",
            warmup_steps=warmup,
            decay_steps=decay,
            decay_shape=shape,  # type: ignore[arg-type]
        ),
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
        max_grad_norm=None,
        precision="fp32",
        global_batch_size=1,
        eval_every_steps=1,
    )


@pytest.mark.parametrize("shape", ["linear", "1-sqrt", "cosine"])
def test_low_steps_are_those_of_the_schedule_that_training_uses(shape: str) -> None:
    for warmup, decay in itertools.product((0, 1, 9, 10, 11, 30), (0, 1, 2, 10, 19, 20, 21, 77, 200)):
        spec = spec_of(300, warmup, decay, shape)
        assert num_low_rate_steps(spec) == int((learning_rates(spec, 0, 300) < LOW_SHARE).sum()), (warmup, decay)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_low_steps_of_schedules_without_a_plateau_are_training_s_too(kind: str) -> None:
    for warmup, steps in itertools.product((0, 1, 9, 10, 30), (30, 31, 100, 257)):
        schedule = ScheduleSpec(kind=kind, warmup_steps=warmup)  # type: ignore[arg-type]
        spec = replace(spec_of(steps, 0, 0), schedule=schedule)
        assert num_low_rate_steps(spec) == int((learning_rates(spec, 0, steps) < LOW_SHARE).sum()), (warmup, steps)


def test_a_longer_plateau_adds_no_low_steps_and_a_stretched_decay_does() -> None:
    short = spec_of(300, 10, 60)
    assert low_share_of_extra_steps(short, spec_of(600, 10, 60)) == 0
    assert low_share_of_extra_steps(short, spec_of(600, 10, 360)) == pytest.approx(30 / 300)
    assert low_share_of_extra_steps(short, short) is None
