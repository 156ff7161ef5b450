"""`search_space: auto`: by the number of trials, around the rate that the sweep found best."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic import Lab, bowl, config_of

from tuner.config.auto_space import auto_names, describe_auto
from tuner.protocol.space import space_of


@pytest.mark.parametrize(
    ("optimizer", "num_trials", "names"),
    [
        ("adamw", 9, ("learning_rate",)),
        ("adamw", 10, ("learning_rate", "beta1")),
        ("adamw", 24, ("learning_rate", "beta1")),
        ("adamw", 25, ("learning_rate", "beta1", "epsilon")),
        ("adamw", 49, ("learning_rate", "beta1", "epsilon")),
        ("adamw", 50, ("learning_rate", "beta1", "epsilon", "beta2")),
        ("sgd", 9, ("learning_rate",)),
        ("sgd", 10, ("learning_rate", "momentum")),
    ],
)
def test_more_trials_search_more_of_the_optimizer(optimizer: str, num_trials: int, names: tuple[str, ...]) -> None:
    config = config_of(search_space="auto", training={"optimizer": optimizer}, round_1={"num_trials": num_trials})
    assert auto_names(config) == names
    assert all(name in describe_auto(config) for name in names)


def played(num_trials: int = 6, **sections: Any) -> Lab:
    return Lab(config_of(search_space="auto", round_1={"num_trials": num_trials}, **sections), bowl(2e-3)).play()


def test_rates_lie_around_the_best_of_the_sweep() -> None:
    lab = played()
    best = lab.decision("budget").numbers["learning_rate"]
    rates = space_of(lab.config, lab.decisions)["learning_rate"]
    assert (rates.low, rates.high) == (pytest.approx(best / 30, rel=1e-3), pytest.approx(best * 3, rel=1e-3))
    assert all(rates.low <= trial.params["learning_rate"] <= rates.high for trial in lab.trials("round_1"))


def test_the_space_is_committed_when_the_round_opens() -> None:
    lab = played(12)
    opened = lab.decision("round_opened", "round_1")
    assert list(opened.numbers["search_space"]) == ["learning_rate", "beta1"]
    assert "beta1 0.8 to 0.99" in opened.reason
    # A later version with other defaults reads the stored space.
    stored = {"learning_rate": {"low": 1.0, "high": 2.0}}
    changed = [d for d in lab.decisions if d is not opened]
    changed.append(type(opened)(kind="round_opened", reason="", phase="round_1", numbers={"search_space": stored}))
    assert list(space_of(lab.config, changed)) == ["learning_rate"]


def test_before_the_sweep_has_ended_nothing_is_known() -> None:
    assert space_of(config_of(search_space="auto"), ()) == {}


def test_a_given_space_binds_as_given() -> None:
    config = config_of()
    assert space_of(config, Lab(config, bowl()).play().decisions) == config.search_space
