"""Points for scientific values: equally many whatever the sampler, each from its own space and its own past."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from test_trials_adaptive import PLAN, SPEC, config_of

from tuner.config.schema import StudyConfig
from tuner.protocol.generations import num_startup
from tuner.records import Outcome, PhaseRecord, StudyRecord, TrialRecord
from tuner.trials.mirror import Mirror
from tuner.trials.proposals import propose

RATES = [
    {"low": 1e-4, "high": 1e-2, "scale": "log", "when": {"optimizer": "adamw"}},
    {"choices": [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0], "when": {"optimizer": "sgd"}},
]
QUESTION: dict[str, Any] = {
    "optimizer": {"choices": ["adamw", "sgd"], "role": "scientific"},
    "learning_rate": RATES,
    "depth": {"choices": [1, 2]},
    "width": {"low": 8, "high": 64, "integer": True, "when": {"depth": 2, "optimizer": "adamw"}},
}
EVEN = {
    "optimizer": {"choices": ["adamw", "sgd"], "role": "scientific"},
    "learning_rate": [
        {"low": 1e-3, "high": 1e-2, "scale": "log", "num_points": 3, "when": {"optimizer": "adamw"}},
        {"choices": [0.1, 0.3, 1.0], "when": {"optimizer": "sgd"}},
    ],
}


def ended(points: list[dict[str, Any]], first: int, *, penalty: float = 0.0) -> tuple[TrialRecord, ...]:
    """Trials that ended; `penalty` changes the values of sgd alone, and turns its order around."""
    trials = []
    for number, params in enumerate(points, first):
        value = abs(math.log10(params["learning_rate"]) + 3) + params.get("depth", 0)
        if params["optimizer"] == "sgd":
            value = penalty - value if penalty else value
        trials.append(
            TrialRecord(
                trial=number + 1,
                phase="round_1",
                number=number,
                params=params,
                spec=SPEC,
                state="ended",
                outcome=Outcome("complete"),
                best_value=value,
                best_step=10,
                last_step=100,
            )
        )
    return tuple(trials)


def search(config: StudyConfig, count: int, *, step: int = 4, penalty: float = 0.0) -> list[dict[str, Any]]:
    """All points of a round, asked for `step` at a time."""
    trials: tuple[TrialRecord, ...] = ()
    while len(trials) < count:
        points = propose(
            config,
            config.given_space,
            PhaseRecord(plan=PLAN, trials=trials),
            num_points=min(step, count - len(trials)),
        )
        trials += ended([dict(point) for point in points], len(trials), penalty=penalty)
    return [dict(trial.params) for trial in trials]


# Each proposal of gp costs half a second.
@pytest.mark.parametrize(("sampler", "count"), [("halton", 11), ("halton", 12), ("tpe", 11), ("tpe", 12), ("gp", 11)])
def test_scientific_values_get_equally_many_trials_whatever_the_sampler(sampler: str, count: int) -> None:
    points = search(config_of(sampler, num_trials=count, search_space=QUESTION), count)
    counts = Counter(point["optimizer"] for point in points)
    assert abs(counts["adamw"] - counts["sgd"]) == count % 2


def test_a_grid_is_whole_under_each_scientific_value() -> None:
    points = search(config_of("grid", num_trials=6, search_space=EVEN), 6, step=6)
    by_value = {name: [p["learning_rate"] for p in points if p["optimizer"] == name] for name in ("adamw", "sgd")}
    assert by_value == {"adamw": [1e-3, pytest.approx(3.162e-3), 1e-2], "sgd": [0.1, 0.3, 1.0]}


@pytest.mark.parametrize(("sampler", "count"), [("halton", 16), ("tpe", 16), ("gp", 12)])
def test_points_hold_exactly_what_exists_and_lie_in_their_ranges(sampler: str, count: int) -> None:
    config = config_of(sampler, num_trials=16, search_space=QUESTION)
    assert count > num_startup(config), "else nothing was learnt from"
    for point in search(config, count):
        adamw = point["optimizer"] == "adamw"
        wide = adamw and point["depth"] == 2
        assert point.keys() == {"optimizer", "learning_rate", "depth"} | ({"width"} if wide else set())
        assert (1e-4 <= point["learning_rate"] <= 1e-2) if adamw else point["learning_rate"] in RATES[1]["choices"]


def test_halton_points_are_the_same_however_many_are_asked_for_at_a_time() -> None:
    config = config_of("halton", num_trials=16, search_space=QUESTION)
    assert search(config, 16, step=16) == search(config, 16, step=5)


def test_no_scientific_value_gets_luckier_points_than_another() -> None:
    space = {"act": {"choices": ["a", "b"], "role": "scientific"}, "learning_rate": {"low": 1e-4, "high": 1.0}}
    config = config_of("halton", num_trials=8, search_space=space)
    points = propose(config, config.given_space, PhaseRecord(plan=PLAN), num_points=8)
    rates = {name: [point["learning_rate"] for point in points if point["act"] == name] for name in "ab"}
    assert rates["a"] == rates["b"]


def test_a_sampler_learns_from_the_trials_of_one_scientific_value_alone() -> None:
    config = config_of("tpe", num_trials=20, search_space=QUESTION)
    honest, turned = (search(config, 20, penalty=penalty) for penalty in (0.0, 50.0))
    learnt = slice(num_startup(config), None)
    adamw = [[p for p in points[learnt] if p["optimizer"] == "adamw"] for points in (honest, turned)]
    sgd = [[p for p in points[learnt] if p["optimizer"] == "sgd"] for points in (honest, turned)]
    assert adamw[0] == adamw[1]
    assert sgd[0] != sgd[1], "else the turned values were not looked at"


def test_optuna_shows_same_named_hyperparameters_under_names_of_their_own(tmp_path: Path) -> None:
    config = config_of("halton", num_trials=8, search_space=QUESTION)
    trials = ended(search(config, 8), 0)
    twin = replace(trials[1], trial=99, number=8, params={**trials[1].params, "learning_rate": 0.05})
    url = f"sqlite:///{tmp_path / 'mirror.db'}"
    phase = PhaseRecord(plan=PLAN, trials=(*trials, twin))
    Mirror(url, config).sync(StudyRecord(name="which", state="running", phases=(phase,), curves={}))
    study = optuna.load_study(study_name="which/round_1", storage=url)
    labels = {"adamw": "learning_rate[optimizer=adamw]", "sgd": "learning_rate[optimizer=sgd]"}
    for mirrored, trial in zip(study.trials, (*trials, twin), strict=True):
        label = labels[str(trial.params["optimizer"])]
        assert mirrored.params[label] == trial.params["learning_rate"]
        assert "learning_rate" not in mirrored.params
        assert mirrored.params["optimizer"] == trial.params["optimizer"]
    assert isinstance(study.trials[0].distributions[labels["adamw"]], FloatDistribution)
    assert isinstance(study.trials[1].distributions[labels["sgd"]], CategoricalDistribution)
    assert any("width" in mirrored.params for mirrored in study.trials)


def test_points_of_a_stretch_keep_their_conditions() -> None:
    space = {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"},
        "optimizer": {"choices": ["adamw", "sgd"]},
        "beta1": {"low": 0.8, "high": 0.99, "when": {"optimizer": "adamw"}},
    }
    config = config_of("tpe", num_trials=16, search_space=space)
    known = propose(config, config.given_space, PhaseRecord(plan=PLAN), num_points=4)
    phase = PhaseRecord(plan=PLAN, trials=ended([dict(point) for point in known], 0))
    points = propose(config, config.given_space, phase, num_points=6, within={"learning_rate": (1e-2, 3e-2)})
    assert all(1e-2 <= float(str(point["learning_rate"])) <= 3e-2 for point in points)
    assert all(("beta1" in point) == (point["optimizer"] == "adamw") for point in points)
    assert {point["optimizer"] for point in points} == {"adamw", "sgd"}
