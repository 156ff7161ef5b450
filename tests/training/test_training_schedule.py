"""Schedules as expected lists, and where two runs part."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tuner.errors import ConfigError
from tuner.records import OptimizerSpec, RunSpec, ScheduleSpec
from tuner.training.schedule import learning_rates, shared_prefix, trunk_end

SHAPES = ("linear", "1-sqrt", "cosine")


def spec(steps=10, rate=1.0, *, kind="warmup_stable_decay", warmup=2, decay=4, shape="linear") -> RunSpec:
    return RunSpec(
        seed=0,
        max_train_steps=steps,
        learning_rate=rate,
        schedule=ScheduleSpec(kind=kind, warmup_steps=warmup, decay_steps=decay, decay_shape=shape),
        optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
        max_grad_norm=None,
        precision="fp32",
        global_batch_size=1,
        eval_every_steps=1,
    )


@pytest.mark.parametrize(
    ("shape", "tail"),
    [
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("1-sqrt", [1.0, 1 - math.sqrt(0.25), 1 - math.sqrt(0.5), 1 - math.sqrt(0.75)]),
        ("cosine", [1.0, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
    ],
)
def test_warmup_plateau_and_decay_are_as_expected(shape, tail):
    expected = [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, *tail]
    assert learning_rates(spec(shape=shape), 0, 10).tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("kind", "warmup", "steps", "expected"),
    [
        ("linear", 0, 4, [1.0, 0.75, 0.5, 0.25]),
        ("linear", 2, 7, [0.5, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
        ("linear", 3, 4, [1 / 3, 2 / 3, 1.0, 1.0]),
        ("linear", 3, 3, [1 / 3, 2 / 3, 1.0]),
        ("linear", 0, 1, [1.0]),
        ("cosine", 0, 4, [1.0, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2)]),
        ("cosine", 2, 5, [0.5, 1.0, 1.0, 0.75, 0.25]),
        ("cosine", 1, 3, [1.0, 1.0, 0.5]),
    ],
)
def test_linear_and_cosine_decay_from_warmup_to_the_last_update(kind, warmup, steps, expected):
    rates = learning_rates(spec(steps, 2.0, kind=kind, warmup=warmup, decay=0), 0, steps)
    assert rates.tolist() == pytest.approx([2.0 * share for share in expected], rel=1e-14)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_every_small_schedule_without_a_plateau_is_its_formula(kind):
    for steps in range(1, 13):
        for warmup in range(steps + 1):
            rates = learning_rates(spec(steps, kind=kind, warmup=warmup, decay=0), 0, steps).tolist()
            rest = steps - warmup
            for step, rate in enumerate(rates):
                done = (step - warmup) / rest if rest else 0.0
                decayed = 1 - done if kind == "linear" else (1 + math.cos(math.pi * done)) / 2
                assert rate == pytest.approx((step + 1) / warmup if step < warmup else decayed, rel=1e-12)
            assert min(rates) > 0


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_longer_run_without_a_plateau_shares_its_warmup_and_one_update_at_the_peak(kind):
    for warmup in (0, 1, 10):
        one = spec(100, 1e-3, kind=kind, warmup=warmup, decay=0)
        assert trunk_end(one) == warmup + 1
        for longer in range(101, 400, 13):
            assert shared_prefix(one, replace(one, max_train_steps=longer)) == warmup + 1
    plateau = spec(100, 1e-3, warmup=10, decay=20)
    assert shared_prefix(plateau, spec(100, 1e-3, kind=kind, warmup=10, decay=0)) == 11


def test_a_constant_rate_follows_its_warmup():
    rates = learning_rates(spec(6, 3e-3, kind="constant", warmup=3, decay=0), 0, 6)
    assert rates.tolist() == [3e-3 * share for share in (1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0)]


def test_no_update_is_spent_at_a_rate_of_zero():
    for shape in SHAPES:
        assert learning_rates(spec(1000, warmup=100, decay=200, shape=shape), 0, 1000).min() > 0


def test_a_part_of_the_rates_equals_the_same_part_of_all():
    for shape in SHAPES:
        one = spec(57, 1e-3, warmup=7, decay=20, shape=shape)
        whole = learning_rates(one, 0, 57)
        for start in range(0, 58, 5):
            assert np.array_equal(learning_rates(one, start, 57), whole[start:])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_longer_budget_shares_all_but_the_decay_and_one_more_update(shape):
    # The first update of the decay still runs at the peak.
    assert trunk_end(spec(100, 1e-3, warmup=5, decay=20, shape=shape)) == 81


def test_a_constant_run_is_all_trunk():
    assert trunk_end(spec(50, kind="constant", warmup=5, decay=0)) == 50


def test_runs_share_what_their_rates_share():
    one = spec(100, 1e-3, warmup=5, decay=20)
    assert shared_prefix(one, replace(one, learning_rate=1.1e-3)) == 0
    assert shared_prefix(one, spec(100, 1e-3, warmup=6, decay=20)) == 0
    assert shared_prefix(one, spec(300, 1e-3, kind="constant", warmup=5, decay=0)) == 81
    assert shared_prefix(one, spec(100, 1e-3, warmup=5, decay=40)) == 61
    assert shared_prefix(one, replace(one, seed=9)) == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"steps": 1000, "warmup": 600, "decay": 500},
            "warmup_steps=600 plus decay_steps=500 is longer than max_train_steps=1000; shorten one, "
            "or give the round a larger budget",
        ),
        (
            {"steps": 5, "warmup": 0, "decay": 6},
            "decay_steps=6 is longer than max_train_steps=5; shorten it, or give the round a larger budget",
        ),
        (
            {"kind": "cosine"},
            "decay_steps=4 with a cosine schedule; use warmup_stable_decay, or no decay_steps",
        ),
        (
            {"kind": "linear", "steps": 5, "warmup": 6, "decay": 0},
            "warmup_steps=6 is longer than max_train_steps=5; shorten it, or give the round a larger budget",
        ),
        (
            {"kind": "constant", "warmup": 0},
            "decay_steps=4 with a constant schedule; use warmup_stable_decay, or no decay_steps",
        ),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(ConfigError) as caught:
        learning_rates(spec(**changes), 0, 1)
    assert str(caught.value) == message


def test_rates_beyond_the_run_do_not_exist():
    with pytest.raises(ValueError, match="updates 0 to 11 are not within"):
        learning_rates(spec(), 0, 11)
