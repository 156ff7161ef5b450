"""`rounds` as a list: each round takes the survivors of the one before, not of round 1, and lengths grow."""

from __future__ import annotations

import math
from typing import Any

import pytest
from synthetic import Lab, World, config_of, trained
from test_protocol_kinds import NO_FIT, falls_for_ever

from tuner.protocol.measured import Measured
from tuner.protocol.plan import closed_form_plan
from tuner.protocol.runs import trial_seed
from tuner.records import Conclude, Params, RunSpec
from tuner.training.recipe import RecipeKeys

TWICE = {"budget_multiple": 2, "lower_rate_twin": False}
AUTO = {"budget_multiple": "auto", "lower_rate_twin": False}


def play(world: World, rounds: list[dict[str, Any]], **sections: Any) -> Lab:
    return Lab(config_of(round_2=None, rounds=rounds, **sections), world).play(max_moves=80)


def improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def until_1200(step: int) -> float:
    return 2.0 - 0.5 * min(step, 1200) / 1200


def moving_optimum(*, seeds: dict[tuple[float, int], float] | None = None) -> World:
    """Short runs (600 steps) do best at 1e-3; every doubling halves the best rate. Seeds may be lucky at a rate."""
    first = trained(improving)

    def measure(spec: RunSpec, step: int) -> Any:
        if not spec.schedule.decay_steps:
            return first(spec, step)
        best = 1e-3 * 600 / spec.max_train_steps
        luck = (seeds or {}).get((round(spec.learning_rate, 6), spec.seed), 0.0)
        return 1.0, improving(step) + 0.5 * abs(math.log10(spec.learning_rate / best)) - luck

    return measure


def rates(lab: Lab, phase: str) -> list[float]:
    """The distinct rates of a phase, the best first."""
    return list(dict.fromkeys(round(t.spec.learning_rate, 6) for t in lab.trials(phase)))


def points(lab: Lab, phase: str) -> list[Params]:
    return [t.params for t in lab.trials(phase)]


# ---------------------------------------------------------------- survivors


def test_ideas_that_are_best_in_short_runs_die_in_longer_ones() -> None:
    lab = play(
        moving_optimum(),
        [
            {**TWICE, "num_trials": 4, "num_seeds": 1},
            {**TWICE, "num_trials": 2, "num_seeds": 1},
            {**TWICE, "num_trials": 1},
        ],
    )
    assert [p.name for p in lab.phases] == ["budget_sweep", "round_1", "round_2", "round_3", "round_4"]
    assert [p.plan.max_train_steps for p in lab.phases[1:]] == [600, 1200, 2400, 4800]
    # Of 600 steps 1e-3 is the best rate, of 1,200 0.5e-3, of 2,400 0.25e-3: there is none below 0.316e-3 in round 2.
    assert rates(lab, "round_2") == [0.001, 0.000562, 0.001778, 0.000316]
    assert rates(lab, "round_3") == [0.000562, 0.000316]
    assert rates(lab, "round_4") == [0.000316]
    # None of those that were left is good at 4,800: the best trial of all rounds is the answer.
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 2400
    assert "longer training did not help: round_4 reached 1.313 in 4,800 steps" in lab.decision("answer").reason


def test_survivors_are_the_best_of_the_round_before_and_are_told_with_how_many_there_were() -> None:
    lab = play(moving_optimum(), [{**TWICE, "num_trials": 4, "num_seeds": 1}, {**TWICE, "num_trials": 2}])
    assert rates(lab, "round_3") != rates(lab, "round_2")[:2]
    opened = lab.decision("round_opened", "round_3")
    assert "The 2 best points of round_2 (2 of 4, by their means over seeds) train for 2,400 steps" in opened.reason
    assert opened.numbers["from_phase"] == "round_2"
    assert opened.numbers["num_points_before"] == 4
    carried = lab.decision("carried_over", "round_3")
    assert carried.numbers["transfer"]["learning_rate"] == {
        "class": "unlikely",
        "as": "learning-rate schedule",
        "done": "kept",
    }


@pytest.mark.parametrize("seed", [7, trial_seed(7, 1)])
def test_a_lucky_seed_carries_no_point_into_the_next_round(seed: int) -> None:
    lucky = {(0.001, seed): 0.2}  # its mean over three seeds stays behind
    three = {**TWICE, "num_trials": 2, "num_seeds": 3}
    lab = play(moving_optimum(seeds=lucky), [three, {**TWICE, "num_trials": 1}])
    best = min(lab.trials("round_2"), key=lambda t: t.best_value or 9.0)
    assert round(best.spec.learning_rate, 6) == 0.001
    assert rates(lab, "round_3") == [0.000562]


def test_a_point_continues_all_its_seeds_and_further_ones_are_trunks_of_their_own() -> None:
    lab = play(trained(improving), [{**TWICE, "num_seeds": 2}, {**TWICE, "num_seeds": 3}])
    assert [t.spec.seed for t in lab.trials("round_3")] == [7, 7, *[trial_seed(7, 1)] * 2, *[trial_seed(7, 2)] * 2]


def test_a_round_without_survivors_ends_the_study_with_what_was_before_and_says_so() -> None:
    usual = trained(improving)
    world: World = lambda spec, step: "non-finite" if spec.max_train_steps == 2400 else usual(spec, step)  # noqa: E731
    lab = play(world, [TWICE, TWICE, TWICE])
    assert [p.name for p in lab.phases][-1] == "round_3"
    assert "round_4 is not opened: no trial of round_3 was feasible" in lab.decision("round_skipped").reason
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 1200
    assert "no trial of round_3 was feasible" in lab.decision("answer").reason


# ---------------------------------------------------------------- the twin


def test_a_twin_that_wins_goes_on_as_a_point_of_its_own() -> None:
    twin = {"budget_multiple": 2, "lower_rate_twin": True, "num_trials": 1}
    lab = play(moving_optimum(), [twin, twin])
    assert rates(lab, "round_2") == [0.001, 0.0005]
    assert rates(lab, "round_3") == [0.0005, 0.00025]
    assert [t.spec.seed for t in lab.trials("round_3")] == [7, trial_seed(7, 1), 7]
    assert "the lower-rate twin of round_2 goes on as a point of its own" in (
        lab.decision("round_opened", "round_3").reason
    )
    # At 2,400 steps 0.25e-3 is best: the twin of round 3 is the answer in turn.
    told = lab.decision("answer").reason
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.best_trial == lab.trials("round_3")[2].trial
    assert "this is the lower-rate twin" in told


def test_an_answer_that_was_a_twin_once_says_which() -> None:
    twin = {"budget_multiple": 2, "lower_rate_twin": True, "num_trials": 1}
    lab = play(moving_optimum(), [twin, {**twin, "budget_multiple": 1.1}])
    told = lab.decision("answer").reason
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.params["learning_rate"] == 0.0005
    assert "its rate is that of the lower-rate twin of round_2, which went on as a point of its own" in told
    assert "the lower-rate twin (0.00025) did not win" in told


# ---------------------------------------------------------------- lengths


def test_lengths_grow_only_while_longer_training_gains() -> None:
    lab = play(trained(until_1200), [TWICE, AUTO, {**AUTO, "num_seeds": 3}])
    # 600 -> 1,200 gained, which 2,400 does not: what comes then has more seeds to measure, and no more steps.
    assert [p.plan.max_train_steps for p in lab.phases[2:]] == [1200, 2400, 2400]
    opened = lab.decision("round_opened", "round_3").reason
    assert "mean gain in loss of the 2 runs that round_2 has in common with round_1 (point and seed): +0.2" in opened
    assert "longer training may still gain (budget_multiple: auto)" in opened
    replicated = lab.decision("round_opened", "round_4").reason
    assert "longer training has stopped to gain: round 4 is replication only" in replicated


def test_a_round_that_would_repeat_the_one_before_is_not_opened_and_says_so() -> None:
    lab = play(trained(until_1200), [TWICE, AUTO, AUTO, TWICE])
    assert [p.name for p in lab.phases][-3:] == ["round_2", "round_3", "round_5"]
    assert [p.plan.max_train_steps for p in lab.phases][-3:] == [1200, 2400, 4800]
    told = lab.decision("round_skipped").reason
    assert told.startswith(
        "round_4 is not opened: mean gain in loss of the 4 runs that round_3 has in common with round_2"
    )
    assert "it would repeat round_3, with no seed that is new" in told
    assert lab.decision("round_opened", "round_5").numbers["from_phase"] == "round_3"


def test_too_few_runs_in_common_say_nothing_about_longer_training() -> None:
    lab = play(trained(improving), [{**TWICE, "num_trials": 1, "num_seeds": 1}, {**AUTO, "num_trials": 1}])
    assert lab.study.phase("round_3").plan.max_train_steps == 1200
    told = lab.decision("round_opened", "round_3").reason
    assert "round_2 has 1 run in common with round_1 (point and seed), fewer than 2" in told


def test_a_replication_shows_nothing_about_longer_training() -> None:
    lab = play(trained(improving), [{**TWICE, "budget_multiple": 1}, {**AUTO, "num_seeds": 3}])
    assert lab.study.phase("round_3").plan.max_train_steps == 600
    assert "round_2 was no longer than round_1" in lab.decision("round_opened", "round_3").reason


def test_compute_bound_rounds_grow_at_one_ratio_to_the_production_length() -> None:
    lab = play(falls_for_ever(), [AUTO, AUTO, AUTO], budget=NO_FIT | {"production_steps": 20_000})
    # Round 1 has 10 %: three rounds at 10 ** (1 / 3) each.
    assert [p.plan.max_train_steps for p in lab.phases if p.name[-1].isdigit()] == [2000, 4309, 9283, 20_000]
    assert "Round 1 uses 10 % of it, round 4 has all of it, the rounds between grow" in (
        lab.decision("production").reason
    )
    between, last = (lab.decision("round_opened", name).reason for name in ("round_3", "round_4"))
    assert "lengths grow by the same ratio to the production length of 20,000 steps in round_4" in between
    assert "this is the production length" in last
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 20_000


def test_given_multiples_leave_the_rest_of_the_way_to_the_others() -> None:
    lab = play(falls_for_ever(), [AUTO, {**TWICE, "budget_multiple": 4}], budget=NO_FIT | {"production_steps": 20_000})
    assert [p.plan.max_train_steps for p in lab.phases if p.name[-1].isdigit()] == [2000, 5000, 20_000]


# ---------------------------------------------------------------- forks


def test_each_round_forks_from_the_plateau_of_the_one_before() -> None:
    lab = play(trained(improving), [TWICE, {**TWICE, "budget_multiple": 1.7}, TWICE])
    for earlier, later in (("round_1", "round_2"), ("round_2", "round_3"), ("round_3", "round_4")):
        donors = {(str(t.params), t.spec.seed): t.spec for t in lab.trials(earlier)}
        shared = [t for t in lab.trials(later) if (str(t.params), t.spec.seed) in donors]
        assert len(shared) == (2 if earlier == "round_1" else 4)
        for trial in shared:
            short, long = donors[str(trial.params), trial.spec.seed], trial.spec
            start = short.max_train_steps - short.schedule.decay_steps
            # The first update of the decay still runs at the peak rate.
            keys = [RecipeKeys("00" * 32, spec) for spec in (short, long)]
            same = [s for s in range(short.max_train_steps + 1) if keys[0].key_at(s) == keys[1].key_at(s)]
            assert same == list(range(start + 2))
            assert start in short.fork_steps
            assert long.schedule == short.schedule
            # The donor has measured all that a fork there would have (D7).
            assert {s for s in long.eval_steps() if s <= start} <= set(short.eval_steps())


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_rounds_without_a_plateau_stretch_the_horizon_each_time(kind: str) -> None:
    sections = {"training": {"schedule": kind}, "round_1": {"num_trials": 6, "adjust": "none"}}
    lab = play(trained(improving), [{**TWICE, "extend": "cosine"}, TWICE], **sections)
    for name, budget in (("round_2", 1200), ("round_3", 2400)):
        for trial in lab.trials(name):
            assert (trial.spec.schedule.kind, trial.spec.max_train_steps) == (kind, budget)
            assert trial.spec.fork_steps == ()
        opened = lab.decision("round_opened", name)
        assert opened.numbers["extend"] == "cosine"
        assert "stretch the decay, anew at the same peak rate" in opened.reason


def test_plateau_rounds_say_that_they_extend_it() -> None:
    lab = play(trained(improving), [TWICE, {**TWICE, "extend": "constant"}])
    opened = lab.decision("round_opened", "round_3")
    assert opened.numbers["extend"] == "constant"
    assert "lengthen the plateau, the decay is 120 steps" in opened.reason


# ---------------------------------------------------------------- limits, plan


def hours(count: float, rounds: list[dict[str, Any]]) -> Lab:
    """A second per step: the sweep takes 0.83 hours, round 1 one hour."""
    sections = {"limits": {"study_hours": count}, "budget": {"first_guess_steps": 600}}
    lab = Lab(config_of(round_2=None, rounds=rounds, **sections), trained(improving), seconds_per_step=lambda done: 1.0)
    return lab.play(max_moves=80)


def test_hours_that_hold_no_trial_of_a_later_round_drop_it_and_all_after_it() -> None:
    lab = hours(4.6, [TWICE, {**TWICE, "budget_multiple": 8}, TWICE])
    assert [p.name for p in lab.phases][-1] == "round_2"
    assert "round_3 is skipped with the rounds after it" in [d.reason for d in lab.decisions if d.kind == "cut"][-1]
    assert lab.measured.elapsed_seconds <= 1.1 * 4.6 * 3600
    assert isinstance(lab.end, Conclude)


def test_seeds_of_a_round_are_cut_before_the_rounds_after_it() -> None:
    # Round 2 asks for 1.07 hours, one seed of round 3 for 0.8: with one seed each, both fit.
    lab = hours(3.4, [TWICE, TWICE])
    assert [(p.name, len(p.trials)) for p in lab.phases[1:]] == [("round_1", 6), ("round_2", 2), ("round_3", 2)]
    told = lab.decision("cut", "round_2").reason
    assert "round_2 has 2 of 4 trials, seeds cut before points, beside one seed of the rounds after it" in told
    assert lab.measured.elapsed_seconds <= 1.1 * 3.4 * 3600


def test_what_hours_buy_is_spread_over_all_rounds() -> None:
    sections = {"limits": {"study_hours": 30}, "budget": NO_FIT}
    rounds = [{**AUTO, "num_seeds": 1}, {**AUTO, "num_trials": 1, "num_seeds": 1}]
    config = config_of(round_2=None, rounds=rounds, **sections)
    lab = Lab(config, falls_for_ever(), seconds_per_step=lambda done: 1.0).play(max_moves=80)
    assert [p.name for p in lab.phases][-2:] == ["round_2", "round_3"]
    assert [p.plan.max_train_steps for p in lab.phases][-1] == lab.decision("production").numbers["production_steps"]
    assert 0.85 * 30 * 3600 < lab.measured.elapsed_seconds <= 30 * 3600


@pytest.mark.parametrize("workers", [2, 3])
def test_what_hours_buy_for_all_rounds_is_not_cut_again_for_workers_that_wait(workers: int) -> None:
    config = config_of(round_2=AUTO, limits={"study_hours": 30}, budget=NO_FIT)
    some = Measured(num_workers=workers)
    lab = Lab(config, falls_for_ever(), seconds_per_step=lambda done: 1.0, measured=some).play(max_moves=80)
    assert "cut" not in lab.kinds()
    assert lab.phases[-1].plan.max_train_steps == lab.decision("production").numbers["production_steps"]
    assert lab.measured.elapsed_seconds <= 30 * 3600


def test_the_plan_names_every_round_with_its_range() -> None:
    config = config_of(round_2=None, rounds=[TWICE, {**AUTO, "num_trials": 1}, {**AUTO, "num_trials": 1}])
    _, _, second, third, fourth = closed_form_plan(config)
    assert [p.name for p in (second, third, fourth)] == ["round_2", "round_3", "round_4"]
    assert [p.max_steps for p in (second, third, fourth)] == [8000, 16_000, 32_000]
    assert [p.min_steps for p in (second, third, fourth)] == [4, 4, 4]
    assert [(p.min_trials, p.max_trials) for p in (second, third, fourth)] == [(2, 4), (0, 2), (0, 2)]
    assert "2 x round 1's budget, forked from its plateaus for the first seed" in second.note
    assert "1 x, or 2 x if longer may still gain, round 2's budget" in third.note


def test_the_plan_of_a_compute_bound_study_knows_every_length() -> None:
    budget = NO_FIT | {"production_steps": 20_000}
    config = config_of(round_2=None, rounds=[AUTO, AUTO, AUTO], budget=budget, workload_kind="compute_bound")
    lengths = {p.name: (p.min_steps, p.max_steps) for p in closed_form_plan(config)}
    assert lengths["round_2"] == (4309, 4309)
    assert lengths["round_3"] == (9283, 9283)
    assert lengths["round_4"] == (20_000, 20_000)


def test_an_empty_list_ends_after_round_1() -> None:
    lab = play(trained(improving), [])
    assert [p.name for p in lab.phases] == ["budget_sweep", "round_1"]
    assert isinstance(lab.end, Conclude)
