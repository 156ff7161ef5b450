"""`frontier.proxy`: one trunk to the end, every evaluation a budget, calibrated or refused."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, World, config_of, trained

from tuner.protocol.frontier import frontier_of
from tuner.protocol.plan import closed_form_plan
from tuner.protocol.proxy_frontier import REFUSED, proxies_of
from tuner.records import Conclude, RunSpec
from tuner.training.recipe import RecipeKeys
from tuner.training.schedule import shared_prefix

DECAY_GAIN = 0.1


def levels_off(step: int) -> float:
    return 2.0 - 1.0 * min(step, 900) / 900


def luck(spec: RunSpec) -> float:
    return random.Random(f"{spec.seed}/{spec.learning_rate}").gauss(0, 0.01)


def world() -> World:
    """Seeds differ; a trunk without a decay is a plateau to its end."""
    usual = trained(levels_off, decay_gain=DECAY_GAIN)

    def measure(spec: RunSpec, step: int) -> Any:
        if spec.schedule.kind != "constant" and not spec.schedule.decay_steps:
            spec = replace(spec, schedule=replace(spec.schedule, decay_steps=1), max_train_steps=10**6)
        values = usual(spec, step)
        return values if isinstance(values, str) else (values[0], values[1] + luck(spec))

    return measure


def stand_in(error: Callable[[int], float] = lambda step: 0.02) -> Callable[[RunSpec, int, int], float]:
    """What a decay that ends at the step would reach, and an error that grows with the horizon."""

    def measure(spec: RunSpec, step: int, horizon: int) -> float:
        decades = math.log10(spec.learning_rate / 1e-3)
        distance = 0.5 * max(1.02 * decades, -decades)
        return levels_off(step) - DECAY_GAIN + distance + luck(spec) + error(step) * horizon / 50

    return measure


def play(asked: dict[str, Any], error: Callable[[int], float] = lambda step: 0.02, **sections: Any) -> Lab:
    config = config_of(frontier={"proxy": True, **asked}, **sections)
    return Lab(config, world(), averaged=stand_in(error)).play(max_moves=80)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return play({"half_rate": False})


def test_the_trunk_is_the_answers_run_up_to_its_decay_and_then_goes_on(lab: Lab) -> None:
    assert isinstance(lab.end, Conclude)
    base = next(trial for trial in lab.study.trials() if trial.trial == lab.end.answer.best_trial)
    trunk, longest, half = lab.trials("frontier")
    budget, decay = base.spec.max_train_steps, base.spec.schedule.decay_steps
    assert (trunk.spec.schedule.decay_steps, trunk.spec.max_train_steps) == (0, budget)
    # The decay's first update has the peak rate still.
    assert shared_prefix(trunk.spec, base.spec) == budget - decay + 1
    assert RecipeKeys("00", trunk.spec).key_at(budget - decay) == RecipeKeys("00", base.spec).key_at(budget - decay)
    assert shared_prefix(longest.spec, base.spec) == budget, "the answer's run itself calibrates"
    assert half.spec.max_train_steps == min(step for step in trunk.spec.eval_steps() if step >= budget / 2)
    for cooldown in (longest, half):
        assert shared_prefix(trunk.spec, cooldown.spec) in trunk.spec.fork_steps
        assert cooldown.spec.max_train_steps in trunk.spec.eval_steps()


def test_every_evaluation_from_half_of_the_budget_on_is_a_budget(lab: Lab) -> None:
    trunk = lab.trials("frontier")[0].spec
    points, half = lab.decision("frontier").numbers["points"], trunk.max_train_steps / 2
    assert [point["budget"] for point in points] == [step for step in trunk.eval_steps() if step >= half]


def test_the_proxies_are_what_real_cooldowns_reach_and_have_their_knee(lab: Lab) -> None:
    decision = lab.decision("frontier")
    budgets = [point["budget"] for point in decision.numbers["points"]]
    exact = Lab(config_of(frontier={"budgets": budgets, "half_rate": False}), world()).play(max_moves=80)
    real = exact.decision("frontier").numbers
    assert [point["value"] for point in decision.numbers["points"]] == pytest.approx(
        [point["value"] for point in real["points"]]
    )
    assert decision.numbers["knee"] == real["knee"]
    assert lab.study.phase("frontier").verdict == f"knee at {real['knee']:,} steps"
    assert decision.numbers["proxy"]["holds"]
    assert decision.numbers["proxy"]["calibration"]["mean_error"] == pytest.approx(0.02)
    assert "by proxy: weights averaged over 50 updates, held against 2 real cooldowns" in decision.reason


def test_averages_that_drift_are_refused_and_the_real_cooldowns_stand() -> None:
    lab = play({"half_rate": False}, lambda step: 0.8 * step / 1200)
    phase, decision = lab.study.phase("frontier"), lab.decision("frontier")
    assert phase.verdict == REFUSED
    assert (
        "Averaged weights do not stand in for the cooldown's loss here: its error after correction" in decision.reason
    )
    assert "tuner frontier made-up without --proxy" in decision.reason
    assert decision.numbers["proxy"]["holds"] is False
    found = frontier_of(lab.study, phase)
    assert found is not None
    assert [point.budget for point in found.points] == sorted(t.spec.max_train_steps for t in phase.trials[1:])
    assert isinstance(lab.end, Conclude), "a proxy that is refused is no failure of the study"


def test_a_study_without_averages_has_no_proxies_and_keeps_its_answer() -> None:
    lab = play({}, evaluation={"averaged_horizons": []})
    assert isinstance(lab.end, Conclude)
    assert "frontier" not in [phase.name for phase in lab.phases]


def test_a_trunk_at_half_the_rate_calibrates_beside_it_and_joins_the_envelope() -> None:
    lab = play({"num_calibrations": 3})
    assert len(lab.trials("frontier")) == 2 * (1 + 3)
    assert len(lab.decision("frontier").numbers["proxy"]["calibration"]["errors"]) == 2 * 3
    proxies = proxies_of(lab.study, lab.study.phase("frontier"))
    assert proxies is not None
    assert len(proxies.by_rate) == 2


def test_seeds_are_trunks_of_their_own() -> None:
    lab = play({"num_seeds": 2, "half_rate": False})
    assert len({trial.spec.seed for trial in lab.trials("frontier")}) == 2
    assert all(point["num_seeds"] == 2 for point in lab.decision("frontier").numbers["points"])


def test_asked_budgets_bound_the_evaluations() -> None:
    lab = play({"half_rate": False, "budgets": [500, 1000]})
    budgets = [point["budget"] for point in lab.decision("frontier").numbers["points"]]
    assert min(budgets) >= 500
    assert max(budgets) == 1000
    assert max(trial.spec.max_train_steps for trial in lab.trials("frontier")) == 1000


def test_the_plan_tells_its_trials_in_closed_form() -> None:
    planned = closed_form_plan(config_of(frontier={"proxy": True, "num_seeds": 2, "num_calibrations": 3}))[-1]
    assert (planned.min_trials, planned.max_trials) == (0, 3 * 4)
    assert "every evaluation a budget" in planned.note


def test_an_exact_frontier_asks_in_the_words_of_before_there_were_proxies() -> None:
    """Else a frontier that stands in an older study would be measured again."""
    lab = Lab(config_of(frontier={"num_budgets": 3, "half_rate": False}), world()).play(max_moves=80)
    assert not {"proxy", "num_calibrations"} & lab.decision("frontier_opened").numbers["asked"].keys()
