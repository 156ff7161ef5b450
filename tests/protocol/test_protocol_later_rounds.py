"""Round 2: its multiple, the lower-rate twin and what its win means, steps at a low rate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, World, config_of, trained

from tuner.protocol.later_rounds import open_later_round
from tuner.protocol.replicas import leader
from tuner.protocol.rounds import distinct
from tuner.records import Conclude, OpenPhase, RunSpec

AUTO = {"budget_multiple": "auto"}
TWIN = {"lower_rate_twin": True}


def play(world: World, **sections: Any) -> Lab:
    return Lab(config_of(**sections), world).play(max_moves=80)


def flat(step: int) -> float:
    return 1.5


def still_improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def prefers(rate: float, *, when_longer_than: int = 600, lucky_seed: int | None = None) -> World:
    """Longer runs do best at a rate of their own, shorter ones at 1e-3; one seed may be lucky at every rate."""
    short = trained(still_improving)

    def measure(spec: RunSpec, step: int) -> Any:
        measured = short(spec, step)
        if spec.max_train_steps <= when_longer_than or isinstance(measured, str) or not spec.schedule.decay_steps:
            return measured
        distance = abs(math.log10(spec.learning_rate / rate))
        return 1.0, still_improving(step) + 0.5 * distance - (0.3 if spec.seed == lucky_seed else 0.0)

    return measure


def test_a_probe_without_gain_makes_round_2_a_replication_and_says_so() -> None:
    lab = play(trained(flat), round_1={"adjust": "probe"}, round_2=AUTO)
    assert lab.study.phase("round_2").plan.max_train_steps == 600
    assert "replication only" in lab.decision("round_opened", "round_2").reason


def test_a_replication_repeats_the_recipe_of_round_1_for_the_first_seed() -> None:
    lab = play(trained(flat), round_1={"adjust": "probe"}, round_2=AUTO)
    first = {t.params["learning_rate"]: t.spec for t in lab.trials("round_1")}
    assert [t.spec for t in lab.trials("round_2")][:2] == [
        first[t.params["learning_rate"]] for t in lab.trials("round_2")[:2]
    ]


def test_a_probe_with_gain_makes_round_2_twice_as_long() -> None:
    lab = play(trained(still_improving), round_1={"adjust": "probe", "max_adjustments": 1}, round_2=AUTO)
    assert lab.study.phase("round_2").plan.max_train_steps == 2 * 1200
    assert "round_1.2 is too short" in lab.decision("round_opened", "round_2").reason


def test_an_undecided_budget_is_replicated_since_no_gain_was_shown() -> None:
    lab = play(trained(flat), round_2=AUTO)
    assert lab.study.phase("round_2").plan.max_train_steps == 600
    assert "replication only" in lab.decision("round_opened", "round_2").reason


def test_a_given_multiple_is_kept_whatever_the_verdict() -> None:
    lab = play(trained(flat), round_1={"adjust": "probe"}, round_2={"budget_multiple": 3})
    assert lab.study.phase("round_2").plan.max_train_steps == 1800
    assert "auto" not in lab.decision("round_opened", "round_2").reason


def test_the_twin_is_one_more_trunk_of_the_best_point_at_half_its_rate() -> None:
    lab = play(trained(still_improving), round_2=TWIN)
    trials = lab.trials("round_2")
    assert len(trials) == 5
    rate = trials[0].params["learning_rate"]
    assert isinstance(rate, float)
    assert trials[4].params["learning_rate"] == pytest.approx(rate / 2, rel=1e-5)
    assert trials[4].spec == replace(trials[0].spec, learning_rate=trials[4].spec.learning_rate)
    assert lab.decision("round_opened", "round_2").numbers["twin"] == 4


def test_a_twin_that_wins_is_the_answer_and_says_so() -> None:
    lab = play(prefers(4e-4), round_2=TWIN)
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.best_trial == lab.trials("round_2")[4].trial
    assert "this is the lower-rate twin" in lab.decision("answer").reason
    assert lab.end.answer.params["learning_rate"] == lab.trials("round_2")[4].spec.learning_rate


def test_a_twin_that_loses_is_told_beside_the_answer() -> None:
    lab = play(prefers(1e-3), round_2=TWIN)
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.best_trial != lab.trials("round_2")[4].trial
    assert "the lower-rate twin (0.0005) did not win" in lab.decision("answer").reason


def test_a_twin_is_not_paid_for_the_luck_of_its_seed() -> None:
    # Its one seed, 7, is lucky at every rate: by plain means the twin would lead, seed for seed it does not.
    world = prefers(1e-3, lucky_seed=7)
    lab = play(world, round_2={**TWIN, "num_trials": 1, "num_seeds": 3})
    twin = lab.trials("round_2")[-1]
    assert twin.best_value is not None
    means = [t.best_value for t in lab.trials("round_2")[:-1]]
    assert twin.best_value < sum(v for v in means if v) / 3
    assert leader(lab.study.phase("round_2")).params != twin.params


def test_a_twin_that_crashed_is_told() -> None:
    world = trained(still_improving)

    def crashes(spec: RunSpec, step: int) -> Any:
        return "crash" if math.isclose(spec.learning_rate, 5e-4) and spec.max_train_steps > 600 else world(spec, step)

    lab = play(crashes, round_2=TWIN)
    assert "the lower-rate twin (0.0005) was not feasible" in lab.decision("answer").reason


def test_a_round_no_longer_than_round_1_has_no_twin() -> None:
    lab = play(trained(flat), round_1={"adjust": "probe"}, round_2={**AUTO, **TWIN})
    assert len(lab.trials("round_2")) == 4
    assert lab.decision("round_opened", "round_2").numbers["twin"] is None


def test_a_rate_that_is_not_searched_is_halved_all_the_same() -> None:
    searched = config_of(search_space={"weight_decay": {"low": 0.0, "high": 0.2}}).search_space
    config = config_of(training={"learning_rate": 1e-3}, round_2=TWIN).model_copy(
        update={"search_space": {"weight_decay": searched["weight_decay"]}}
    )
    lab = Lab(config, trained(still_improving)).play()
    twin = lab.trials("round_2")[4]
    assert twin.params == {**lab.trials("round_2")[0].params, "learning_rate": 5e-4}
    assert twin.spec.learning_rate == 5e-4


def test_round_2_tells_how_many_of_its_steps_run_at_a_low_rate() -> None:
    opened = play(trained(still_improving)).decision("round_opened", "round_2")
    # The last 11 updates of a linear decay of 120 run below 10 % of the peak; two of 30 updates of warmup do.
    assert opened.numbers["low_rate_share"] == pytest.approx((11 + 2) / 1200)
    assert opened.numbers["low_rate_share_of_extra_steps"] == 0
    assert "warning" not in opened.reason


def test_extra_steps_at_a_low_rate_are_warned_of() -> None:
    lab = play(trained(still_improving), round_2={"budget_multiple": 1.01})
    decay = replace(lab.decision("verdict"), kind="decay", numbers={"decay_steps": 500})
    study = replace(lab.study, decisions=(*lab.decisions, decay))
    move = open_later_round(lab.config, study, place=0, base=lab.study.phase("round_1"))
    assert isinstance(move, OpenPhase)
    opened = next(decision for decision in move.decisions if decision.kind == "round_opened")
    assert "warning: so do" in opened.reason
    assert "warning" not in lab.decision("round_opened", "round_2").reason


def test_a_point_that_stands_twice_is_carried_over_once() -> None:
    lab = play(trained(flat))
    (first, second, *_) = lab.trials("round_1")
    assert [trial.number for trial in distinct([first, replace(first, number=9), second])] == [
        first.number,
        second.number,
    ]
