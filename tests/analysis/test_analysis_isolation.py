"""Isolation compares the best points of scientific values, by means over seeds, in seed deviations where known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuner.analysis.isolation import Isolation, deciding_deviations, isolate
from tuner.records import OptimizerSpec, Outcome, RunSpec, ScheduleSpec, TrialRecord, Value

SPEC = RunSpec(
    seed=0,
    max_train_steps=100,
    learning_rate=1e-3,
    schedule=ScheduleSpec(kind="constant", warmup_steps=0),
    optimizer=OptimizerSpec(name="adamw", weight_decay=0.0),
    max_grad_norm=None,
    precision="fp32",
    global_batch_size=4,
    eval_every_steps=10,
)


def trial(number: int, optimizer: Value, best: float | None, *, rate: float = 1e-3, seed: int = 0) -> TrialRecord:
    """A trial with its best value; None: infeasible."""
    return TrialRecord(
        trial=number,
        phase="round_1",
        number=number,
        params={"optimizer": optimizer, "learning_rate": rate},
        spec=replace(SPEC, seed=seed),
        state="ended",
        outcome=Outcome("infeasible", "diverged") if best is None else Outcome("complete"),
        best_value=best,
    )


def isolated(*trials: TrialRecord, deviation: float | None = None, direction: str = "minimize") -> Isolation:
    return isolate("optimizer", ("adamw", "sgd"), trials, direction=direction, seed_deviation=deviation)  # type: ignore[arg-type]


def test_each_value_stands_for_its_best_point() -> None:
    found = isolated(trial(1, "adamw", 0.5), trial(2, "sgd", 0.9, rate=0.1), trial(3, "sgd", 0.3, rate=0.2))
    adamw, sgd = found.values
    assert (adamw.best_trial, adamw.best_value, adamw.behind) == (1, 0.5, pytest.approx(0.2))
    assert (sgd.best_trial, sgd.best_value, sgd.behind) == (3, 0.3, 0.0)
    assert [value.value for value in found.ranked] == ["sgd", "adamw"]


def test_a_lucky_seed_does_not_make_the_best_point() -> None:
    lucky = (trial(1, "sgd", 0.1, rate=0.1), trial(2, "sgd", 0.9, rate=0.1, seed=1))
    steady = (trial(3, "sgd", 0.4, rate=0.2), trial(4, "sgd", 0.3, rate=0.2, seed=1))
    (sgd,) = [value for value in isolated(*lucky, *steady).values if value.value == "sgd"]
    assert (sgd.best_value, sgd.num_seeds, sgd.best_trial) == (pytest.approx(0.35), 2, 4)


def test_a_difference_is_unknown_until_something_was_replicated() -> None:
    assert [value.deviations for value in isolated(trial(1, "adamw", 0.5), trial(2, "sgd", 0.9)).values] == [None, None]


def test_a_difference_is_told_in_its_own_standard_deviations() -> None:
    trials = [trial(1, "adamw", 0.5), trial(2, "sgd", 0.8), trial(3, "sgd", 0.8, seed=1)]
    sgd = isolated(*trials, deviation=0.1).values[1]
    assert sgd.deviations == pytest.approx(0.3 / (0.1 * (1 / 2 + 1) ** 0.5))


def test_few_replicas_ask_for_a_larger_difference() -> None:
    found = [deciding_deviations(freedom) for freedom in (1, 2, 10, 30)]
    assert found == pytest.approx([12.706, 4.303, 2.228, 2.042], abs=1e-3)


def test_infeasible_trials_are_counted_and_never_the_best() -> None:
    found = isolated(trial(1, "adamw", 0.5), trial(2, "sgd", None), trial(3, "sgd", None))
    sgd = found.values[1]
    assert (sgd.num_trials, sgd.num_infeasible, sgd.num_feasible, sgd.best_trial) == (2, 2, 0, None)
    assert [value.value for value in found.ranked] == ["adamw"]


def test_a_value_without_a_trial_is_kept_with_its_count() -> None:
    found = isolated(trial(1, "adamw", 0.5))
    assert [(value.value, value.num_trials) for value in found.values] == [("adamw", 1), ("sgd", 0)]


def test_higher_is_better_where_the_metric_rises() -> None:
    found = isolated(trial(1, "adamw", 0.5), trial(2, "sgd", 0.9), direction="maximize")
    assert [value.value for value in found.ranked] == ["sgd", "adamw"]
    assert found.ranked[1].behind == pytest.approx(0.4)


def test_one_and_true_are_different_values_and_one_and_one_point_zero_are_not() -> None:
    trials = (trial(1, 1, 0.5), trial(2, True, 0.4), trial(3, 1.0, 0.3, rate=1e-2))
    found = isolate("optimizer", (), trials, direction="minimize", seed_deviation=None)
    assert [value.num_trials for value in found.values] == [2, 1]


def test_trials_that_lack_the_hyperparameter_say_nothing_of_it() -> None:
    without = replace(trial(1, "adamw", 0.1), params={"learning_rate": 1e-3})
    assert isolated(without, trial(2, "sgd", 0.9)).ranked[0].value == "sgd"
