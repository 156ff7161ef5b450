"""The frontier: budgets from half to all of the answer's, forked off one trunk, with the envelope of two rates."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from synthetic import Lab, World, config_of, trained

from tuner.analysis.frontier import frontier, value_at
from tuner.records import Conclude, RunSpec
from tuner.training.recipe import RecipeKeys
from tuner.training.schedule import shared_prefix


def levels_off(step: int) -> float:
    """Falls until step 900, and stays."""
    return 2.0 - 1.0 * min(step, 900) / 900


def noisy() -> World:
    """Of `levels_off`, with seeds that differ: what a run is worth does not depend on what it keeps for others."""
    usual = trained(levels_off)

    def measure(spec: RunSpec, step: int) -> Any:
        values = usual(spec, step)
        luck = random.Random(f"{spec.seed}/{spec.learning_rate}").gauss(0, 0.01)
        return values if isinstance(values, str) else (values[0], values[1] + luck)

    return measure


def play(world: World, frontier: dict[str, Any] | None, **sections: Any) -> Lab:
    return Lab(config_of(frontier=frontier, **sections), world).play(max_moves=80)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return play(noisy(), {"num_budgets": 4, "num_seeds": 2})


def test_budgets_go_from_half_of_the_answers_to_all_of_it(lab: Lab) -> None:
    assert isinstance(lab.end, Conclude)
    longest = lab.end.answer.max_train_steps
    budgets = sorted({trial.spec.max_train_steps for trial in lab.trials("frontier")})
    assert budgets == [longest // 2, round(longest * 2 / 3), round(longest * 5 / 6), longest]


def test_each_budget_has_a_trial_for_every_seed_and_one_at_half_the_rate(lab: Lab) -> None:
    assert isinstance(lab.end, Conclude)
    base = next(trial for trial in lab.study.trials() if trial.trial == lab.end.answer.best_trial)
    trials = lab.trials("frontier")
    assert len(trials) == 4 * 3
    full = [trial for trial in trials if trial.spec.learning_rate == base.spec.learning_rate]
    assert len(full) == 4 * len({trial.spec.seed for trial in full}) == 4 * 2
    (half,) = {trial.spec.learning_rate for trial in trials} - {base.spec.learning_rate}
    assert half == pytest.approx(base.spec.learning_rate / 2, rel=1e-5)


def test_every_cooldown_leaves_the_trunk_where_the_trunk_keeps_its_state(lab: Lab) -> None:
    trials = lab.trials("frontier")
    for trial in trials:
        trunk = max(
            (other for other in trials if _trunk(other.spec) == _trunk(trial.spec)),
            key=lambda other: other.spec.max_train_steps,
        )
        if trunk is trial:
            continue
        parted = shared_prefix(trunk.spec, trial.spec)
        assert parted in trunk.spec.fork_steps
        assert RecipeKeys("00", trunk.spec).key_at(parted) == RecipeKeys("00", trial.spec).key_at(parted)
        measured = {step for step in trial.spec.eval_steps() if step <= parted}
        assert measured <= set(trunk.spec.eval_steps()), "the trunk has measured all that the fork would have"


def _trunk(spec: RunSpec) -> tuple[float, int]:
    return spec.learning_rate, spec.seed


def test_the_longest_budget_is_the_answers_own_run(lab: Lab) -> None:
    assert isinstance(lab.end, Conclude)
    base = next(trial for trial in lab.study.trials() if trial.trial == lab.end.answer.best_trial)
    longest = lab.trials("frontier")[0].spec
    assert (longest.schedule, longest.max_train_steps) == (base.spec.schedule, base.spec.max_train_steps)
    assert shared_prefix(longest, base.spec) == base.spec.max_train_steps


def test_a_planned_frontier_reserves_its_states_in_the_last_round(lab: Lab) -> None:
    for trial in lab.trials("round_2"):
        own = trial.spec.max_train_steps - trial.spec.schedule.decay_steps
        wanted = {
            other.spec.max_train_steps - other.spec.schedule.decay_steps + 1
            for other in lab.trials("frontier")
            if other.spec.max_train_steps < trial.spec.max_train_steps
        }
        assert {step for step in wanted if step <= own} <= set(trial.spec.fork_steps)


def test_the_answer_is_that_of_the_study_without_a_frontier(lab: Lab) -> None:
    without = play(noisy(), None)
    assert isinstance(without.end, Conclude)
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer == without.end.answer
    assert [phase.name for phase in lab.phases] == [*(phase.name for phase in without.phases), "frontier"]


def test_the_knee_is_where_the_gain_ends(lab: Lab) -> None:
    decision = lab.decision("frontier")
    budgets = [point["budget"] for point in decision.numbers["points"]]
    knee = decision.numbers["knee"]
    # The plateau stops to gain at 900: the first budget that reaches it is the knee.
    assert knee == min(budget for budget in budgets if budget >= 900)
    assert f"{knee:,} steps is the smallest budget within one seed deviation" in decision.reason
    assert "a still smaller one may do" not in decision.reason


def test_a_knee_at_the_smallest_budget_measured_is_told_as_such() -> None:
    # Round 2 is long enough that half of it lies where nothing gains any more.
    decision = play(noisy(), {"num_budgets": 2, "num_seeds": 2}, round_2={"budget_multiple": 4}).decision("frontier")
    smallest = decision.numbers["points"][0]["budget"]
    assert smallest > 900
    assert decision.numbers["knee"] == smallest
    assert "the smallest that was measured: a still smaller one may do (`tuner frontier --budgets`)" in decision.reason


def test_it_does_not_depend_on_who_finished_first() -> None:
    told = []
    for seed in (0, 1, 2):
        one = Lab(config_of(frontier={"num_budgets": 3}), noisy(), seed=seed).play(max_moves=80)
        told.append(one.decision("frontier"))
    assert told[0] == told[1] == told[2]


def test_what_does_not_fit_into_the_hours_is_skipped_and_the_answer_stands() -> None:
    lab = Lab(
        config_of(frontier={}, limits={"study_hours": 3.6}),
        trained(levels_off),
        seconds_per_step=lambda before: 1.0,
    ).play(max_moves=80)
    assert isinstance(lab.end, Conclude)
    assert "frontier is skipped" in " ".join(decision.reason for decision in lab.decisions)
    assert "frontier" not in [phase.name for phase in lab.phases]


def test_without_a_seed_deviation_no_knee_is_claimed() -> None:
    lab = play(trained(levels_off), {"num_budgets": 3}, round_2=None)
    decision = lab.decision("frontier")
    assert decision.numbers["knee"] is None
    assert "seed deviation is unknown" in decision.reason


def test_a_lower_rate_that_does_better_is_on_the_envelope() -> None:
    found = frontier({1e-3: {100: [1.0], 200: [0.8]}, 5e-4: {100: [1.2], 200: [0.7]}}, "minimize", deviation=0.05)
    assert [(point.budget, point.rate) for point in found.points] == [(100, 1e-3), (200, 5e-4)]
    assert found.knee == 200


def test_gains_are_told_between_budgets_that_lie_a_tenth_apart() -> None:
    """Two neighbours 10 steps apart differ by 0.02 of luck, which would be a gain of 2 per 1,000 steps."""
    values = {100: [1.0], 190: [0.9], 200: [0.88], 400: [0.8]}
    gains = [point.gain_per_step for point in frontier({1e-3: values}, "minimize").points]
    assert gains == [None, pytest.approx(0.1 / 90), pytest.approx(0.12 / 100), pytest.approx(0.08 / 200)]


def test_values_between_budgets_are_interpolated_and_beyond_them_marked() -> None:
    found = frontier({1e-3: {100: [1.0], 200: [0.8], 400: [0.7]}}, "minimize")
    between, is_extrapolated = value_at(found, 283, "minimize") or (0.0, True)
    assert between == pytest.approx(0.75, abs=1e-3)
    assert not is_extrapolated
    beyond, is_extrapolated = value_at(found, 800, "minimize") or (0.0, False)
    assert beyond == pytest.approx(0.6)
    assert is_extrapolated
    assert value_at(found, 50, "minimize") is None
    assert value_at(found, 801, "minimize") is None


def test_a_frontier_that_rises_at_its_end_is_not_extrapolated_downwards() -> None:
    found = frontier({1e-3: {100: [1.0], 200: [0.7], 400: [0.9]}}, "minimize")
    value, _ = value_at(found, 800, "minimize") or (math.nan, False)
    assert value == 0.9
