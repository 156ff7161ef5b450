"""What holds for every study: it ends, it answers twice the same, and it does not depend on who finished first."""

from __future__ import annotations

import hashlib
import json
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import Lab, Losses, World, config_of

from tuner.config.schema import LaterRound
from tuner.protocol.plan import PlannedPhase, closed_form_plan
from tuner.protocol.rounds import feasible
from tuner.records import Conclude, GiveUp, RunSpec

SETTINGS = settings(deadline=None, derandomize=True, max_examples=8)

ADJUST = st.sampled_from(["probe", "raw", "none"])


def chance(*parts: object) -> float:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def any_world(seed: int, trouble: float) -> World:
    """Every run has a fate of its own: when it fits, what its validation does, and whether it ends in trouble."""

    def measure(spec: RunSpec, step: int) -> Losses | str:
        fate = (seed, round(math.log10(spec.learning_rate), 6), spec.seed, spec.schedule.kind)
        fits = 100 * round(1 + 40 * chance("fit", *fate))
        if chance("trouble", *fate) < trouble and step >= 1500 * chance("when", *fate):
            return ("non-finite", "crash")[chance("kind", *fate) < 0.4]
        if chance("diverges", *fate) < trouble / 2 and step > 400:
            return 50.0, 50.0
        train = 0.5 if step >= fits else 3.0 - 1.9 * step / fits
        # In every other study validation falls on and on: late best steps are what calls for probes.
        turn = 1500 * chance("turn", *fate) if seed % 2 else 10**4
        return train, 1.0 + chance("level", *fate) + abs(step - turn) / 1500 + 0.01 * chance("noise", step, *fate)

    return measure


def any_config(exact: bool, adjust: str) -> Any:
    return config_of(
        budget_sweep={"stop_when_dominated": exact, "learning_rates": {"low": 1e-4, "high": 1e-2}},
        round_1={"num_trials": 6, "adjust": adjust, "decay_shares": [0.1, 0.2, 0.4]},
        round_2={"budget_multiple": 2 if adjust == "none" else "auto", "lower_rate_twin": adjust != "raw"},
        evaluation={"every_steps": 20},
    )


def any_rounds(seed: int, adjust: str) -> Any:
    """Studies of every kind with two or three later rounds, of given and of automatic lengths."""
    auto, given = LaterRound(num_trials=2, num_seeds=1), LaterRound(num_trials=2, budget_multiple=1.5)
    rounds = ((auto, auto, given), (given, auto), (given, given, auto), (auto, given))[seed % 4]
    return any_kind(seed, adjust).model_copy(update={"round_2": None, "rounds": rounds})


def any_kind(seed: int, adjust: str) -> Any:
    """Studies of every kind: thresholds stated or not, lengths stated or not."""
    config = any_config(True, adjust)
    budget: dict[str, Any] = {"perfect_fit": None if seed % 3 else config.budget.perfect_fit}
    budget |= {"production_steps": 9000} if seed % 2 else {}
    kind = "compute_bound" if seed % 5 == 1 and seed % 2 and seed % 3 else "auto"
    return config.model_copy(
        update={"budget": config.budget.model_copy(update=budget), "workload_kind": kind},
    )


def story(lab: Lab) -> object:
    """All that a study concluded, without how it came about."""
    trials = [
        (t.number, t.phase, t.params, t.outcome, t.last_step, t.best_step, t.best_value) for t in lab.study.trials()
    ]
    # A study that gave up cuts no curve, so that only its decisions bind.
    return lab.decisions, trials if isinstance(lab.end, Conclude) else []


@SETTINGS
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.booleans(), ADJUST)
def test_every_study_ends_with_an_answer_or_a_reason(seed: int, trouble: float, exact: bool, adjust: str) -> None:
    lab = Lab(any_config(exact, adjust), any_world(seed, trouble), seed).play(max_moves=60)
    if isinstance(lab.end, GiveUp):
        assert lab.end.reason
        assert "\n" not in lab.end.reason
    else:
        best = next(t for t in lab.study.trials() if t.trial == lab.end.answer.best_trial)
        assert best.is_feasible
        assert lab.study.phase(best.phase).plan.max_train_steps == lab.end.answer.max_train_steps
    for decision in lab.decisions:
        json.dumps(decision.numbers, allow_nan=False)
        assert "\n" not in decision.reason


@SETTINGS
@given(
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
    ADJUST,
    st.lists(st.integers(0, 99), min_size=3, max_size=3),
)
def test_no_result_depends_on_the_order_in_which_trials_finish(
    seed: int, trouble: float, exact: bool, adjust: str, orders: list[int]
) -> None:
    labs = [Lab(any_config(exact, adjust), any_world(seed, trouble), order).play() for order in orders]
    assert story(labs[0]) == story(labs[1]) == story(labs[2])


@pytest.mark.slow
@SETTINGS
@given(st.integers(0, 10**6), st.lists(st.integers(0, 99), min_size=2, max_size=2))
def test_no_kind_of_workload_depends_on_the_order_in_which_trials_finish(seed: int, orders: list[int]) -> None:
    labs = [Lab(any_kind(seed, "none"), any_world(seed, 0.2), order).play() for order in orders]
    assert story(labs[0]) == story(labs[1])


@pytest.mark.slow
@SETTINGS
@given(st.integers(0, 10**6), ADJUST, st.lists(st.integers(0, 99), min_size=2, max_size=2))
def test_no_list_of_rounds_depends_on_the_order_in_which_trials_finish(
    seed: int, adjust: str, orders: list[int]
) -> None:
    labs = [Lab(any_rounds(seed, adjust), any_world(seed, 0.2), order).play(max_moves=80) for order in orders]
    assert story(labs[0]) == story(labs[1])


@SETTINGS
@given(st.integers(0, 10**6), st.sampled_from(["config", "kind", "rounds"]), ADJUST)
def test_a_study_stays_within_its_closed_form_plan(seed: int, of: str, adjust: str) -> None:
    configs = {"config": any_config(True, adjust), "kind": any_kind(seed, adjust), "rounds": any_rounds(seed, adjust)}
    config = configs[of]
    planned = {phase.name: phase for phase in closed_form_plan(config)}
    lab = Lab(config, any_world(seed, 0.2), seed).play()
    assert_within(lab, planned)


def any_limits(seed: int, adjust: str) -> Any:
    """Lists of rounds with given multiples (some of them 1), seeds that grow or not, limits, a frontier, the probe."""
    draw = random.Random(seed)
    rounds = tuple(
        LaterRound(
            num_trials=2,
            num_seeds=draw.randint(1, 3),
            budget_multiple=draw.choice(["auto", 1, 1.02, 1.5, 7]),
            lower_rate_twin=draw.random() < 0.5,
        )
        for _ in range(draw.randint(1, 4))
    )
    kind = draw.choice(["auto", "compute_bound"])
    data = config_of(
        workload_kind=kind,
        round_1={"num_trials": 6, "adjust": adjust, "decay_shares": [0.1, 0.2, 0.4]},
        budget={"perfect_fit": None} if kind == "compute_bound" else {},
        limits={"run_hours": draw.choice([0.3, 1.0])} | ({"study_hours": draw.choice([2, 5])} if seed % 2 else {}),
        budget_sweep={"probe_instability": seed % 3 == 0},
        frontier=draw.choice([None, {"num_budgets": 4}]),
    )
    return data.model_copy(update={"round_2": None, "rounds": rounds})


@SETTINGS
@given(st.integers(0, 10**6), ADJUST)
def test_a_study_of_given_multiples_and_limits_stays_within_its_closed_form_plan(seed: int, adjust: str) -> None:
    config = any_limits(seed, adjust)
    planned = {phase.name: phase for phase in closed_form_plan(config)}
    lab = Lab(config, any_world(seed, 0.2), seed, seconds_per_step=lambda done: 1.0).play(max_moves=120)
    assert_within(lab, planned)
    hours = config.limits.run_hours
    assert hours is not None
    for phase in lab.phases:
        # Rounded multiples of a rounded tenth may miss what was bought by a step of round 1.
        if not phase.plan.is_sweep and phase.plan.kind != "cooldown":
            assert phase.plan.max_train_steps <= 1.05 * 3600 * hours


@pytest.mark.parametrize("multiple", [1, "auto"])
def test_a_round_of_the_same_length_may_not_come_and_the_plan_says_so(multiple: Any) -> None:
    rounds = (LaterRound(num_seeds=2, budget_multiple=2), LaterRound(num_seeds=2, budget_multiple=multiple))
    config = any_config(True, "none").model_copy(update={"round_2": None, "rounds": rounds})
    (third,) = (phase for phase in closed_form_plan(config) if phase.name == "round_3")
    assert third.min_trials == 0
    if multiple == 1:
        lab = Lab(config, any_world(0, 0.0), 0).play()
        assert "round_3" not in [phase.name for phase in lab.phases]
        assert_within(lab, {phase.name: phase for phase in closed_form_plan(config)})


@pytest.mark.parametrize("adjust", ["probe", "raw"])
def test_a_widened_study_stays_within_its_closed_form_plan(adjust: str) -> None:
    config = any_config(True, adjust)
    config = config.model_copy(update={"round_1": config.round_1.model_copy(update={"num_trials": 16})})
    lab = Lab(config, high_rates_are_best, 0).play()
    assert "widened" in [decision.kind for decision in lab.decisions if decision.phase == "round_1"]
    assert_within(lab, {phase.name: phase for phase in closed_form_plan(config)})


def high_rates_are_best(spec: RunSpec, step: int) -> Losses | str:
    """Fits best in the middle of the grid; with a decay, any higher rate is better, and longer runs are too."""
    middle = abs(math.log10(spec.learning_rate) + 3)
    fits = 300 * (1 + middle)
    return 0.5 if step >= fits else 3.0 - 1.9 * step / fits, 9.0 - math.log10(spec.learning_rate) - step / 1e3


def assert_within(lab: Lab, planned: dict[str, PlannedPhase]) -> None:
    for phase in lab.phases:
        plan = planned[phase.name]
        assert plan.min_trials <= len(phase.trials) <= plan.max_trials
        for trial in phase.trials:
            assert trial.last_step <= plan.max_steps
            if phase.name != "budget_sweep":
                assert plan.min_steps <= trial.spec.max_train_steps <= plan.max_steps
    if isinstance(lab.end, Conclude):
        ran = {phase.name: phase for phase in lab.phases}
        dead = any(not feasible(phase) for phase in lab.phases if phase.plan.kind == "round_2")
        assert dead or all(name in ran for name, plan in planned.items() if plan.min_trials)
