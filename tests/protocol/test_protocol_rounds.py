"""Round 1, its adjustments, round 2 and the answer on worlds with known answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, Losses, World, bowl, config_of

from tuner.analysis.best_steps import first_good_step
from tuner.protocol.runs import trial_seed
from tuner.records import Conclude, GiveUp, RunSpec

RAW = {"num_trials": 6, "adjust": "raw"}


def play(world: World, **sections: Any) -> Lab:
    return Lab(config_of(**sections), world).play()


def rounds_do(validation: World, *, sweep: World | None = None) -> World:
    """The usual sweep, and other measurements in the rounds (schedules with a decay)."""
    usual = sweep or bowl()
    return lambda spec, step: validation(spec, step) if spec.schedule.decay_steps else usual(spec, step)


def overfits_at_once(spec: RunSpec, step: int) -> Losses:
    return 1.0, 1.0 + step / 1000 + spec.learning_rate


def test_round_1_spends_a_fifth_of_the_budget_on_the_decay() -> None:
    lab = play(bowl())
    spec = lab.trials("round_1")[0].spec
    assert (spec.max_train_steps, spec.schedule.warmup_steps, spec.schedule.decay_steps) == (600, 30, 120)
    assert (spec.eval_every_steps, spec.fork_steps) == (24, (480,))
    assert spec.schedule.kind == "warmup_stable_decay"


def test_searched_settings_replace_the_configs_and_the_rest_goes_to_the_workload() -> None:
    space = {"weight_decay": {"low": 0.0, "high": 0.2}, "dropout": {"low": 0.0, "high": 0.5}}
    lab = play(bowl(), search_space=space)
    for trial in lab.trials("round_1"):
        assert trial.spec.learning_rate == trial.params["learning_rate"]
        assert trial.spec.optimizer.weight_decay == trial.params["weight_decay"]
        assert trial.spec.workload_options == {"dropout": trial.params["dropout"]}
        assert trial.spec.max_grad_norm == 1.0


def test_late_best_steps_change_no_budget_unless_taken_raw() -> None:
    lab = play(bowl())
    assert lab.study.phase("round_1").verdict == "undecided (decay-confounded)"
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "round_1", "round_2"]


def test_too_short_doubles_the_budget_for_the_same_points() -> None:
    lab = play(bowl(), round_1={**RAW, "max_adjustments": 2})
    budgets = [(p.name, p.plan.max_train_steps) for p in lab.phases if p.plan.kind == "round_1"]
    assert budgets == [("round_1", 600), ("round_1.2", 1200), ("round_1.3", 2400)]
    assert lab.study.phase("round_1.3").verdict == "too short", "adjustments used up: the verdict stays attached"
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.verdict == "too short"


def test_a_longer_round_shares_everything_with_the_shorter_but_its_horizon() -> None:
    lab = play(bowl(), round_1={**RAW, "max_adjustments": 1})
    for short, long in zip(lab.trials("round_1"), lab.trials("round_1.2"), strict=True):
        assert (long.number, long.params) == (short.number, short.params)
        horizon = {"max_train_steps": 1200, "eval_every_steps": 48, "fork_steps": (1080,)}
        assert long.spec == replace(short.spec, **horizon)  # type: ignore[arg-type]
        shared = [step for step in long.spec.eval_steps() if step <= 480]
        assert set(shared) <= set(short.spec.eval_steps()), "a donor must have measured each step of the fork (D7)"


def test_an_adjustment_that_suffices_ends_the_adjusting() -> None:
    def peaks_at_800(spec: RunSpec, step: int) -> Losses:
        return 1.0, 1.0 + abs(step - 800) / 1000 + spec.learning_rate

    lab = play(rounds_do(peaks_at_800), round_1=RAW)
    assert [p.verdict for p in lab.phases if p.plan.kind == "round_1"] == ["too short", "adequate"]
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.verdict == "adequate"


def test_too_long_carries_a_smaller_budget_forward_and_reruns_nothing() -> None:
    lab = play(rounds_do(overfits_at_once))
    verdict = lab.decision("verdict", "round_1")
    phase = lab.study.phase("round_1")
    good = [first_good_step(lab.study.curve(t.trial, "validation", "loss"), "minimize") for t in phase.trials]
    assert phase.verdict == "too long"
    assert set(good) == {24}
    assert verdict.numbers["carried_steps"] == 75, "1.5 x 24 would leave no room for a warmup of 30 and a decay of 20 %"
    assert [p.name for p in lab.phases] == ["budget_sweep", "round_1", "round_2"]
    assert lab.study.phase("round_2").plan.max_train_steps == 2 * verdict.numbers["carried_steps"]
    spec = lab.trials("round_2")[0].spec
    assert (spec.max_train_steps, spec.schedule.warmup_steps, spec.schedule.decay_steps) == (150, 30, 15)


def test_round_2_keeps_the_decay_and_lengthens_the_plateau() -> None:
    lab = play(bowl())
    first = {t.params["learning_rate"]: t.spec for t in lab.trials("round_1")}
    for trial in lab.trials("round_2"):
        short = first[trial.params["learning_rate"]]
        assert trial.spec.max_train_steps == 1200
        assert trial.spec.schedule == short.schedule
        assert trial.spec.eval_every_steps == 2 * short.eval_every_steps


def test_round_2_runs_the_best_points_with_seeds_of_their_own() -> None:
    lab = play(bowl(), round_2={"num_trials": 2, "num_seeds": 3})
    trials = lab.trials("round_2")
    ranked = sorted(lab.trials("round_1"), key=lambda t: t.best_value or 0.0)
    assert [t.number for t in trials] == list(range(6))
    assert [t.params for t in trials[:2]] == [t.params for t in ranked[:2]]
    seeds = [t.spec.seed for t in trials]
    assert seeds == [7, 7, trial_seed(7, 1), trial_seed(7, 1), trial_seed(7, 2), trial_seed(7, 2)]
    assert len(set(seeds)) == 3
    assert all(set(t.params) == {"learning_rate"} for t in trials), "a seed is no hyperparameter"


def test_a_multiple_between_whole_numbers_keeps_the_cadence() -> None:
    lab = play(bowl(), round_2={"budget_multiple": 1.5})
    spec = lab.trials("round_2")[0].spec
    assert (spec.max_train_steps, spec.eval_every_steps) == (900, 24)


def test_a_given_cadence_is_kept_in_every_phase() -> None:
    lab = play(bowl(), evaluation={"every_steps": 10}, round_1=RAW)
    assert {t.spec.eval_every_steps for t in lab.study.trials()} == {10}


def test_each_tuned_hyperparameter_is_told_how_well_it_carries_over() -> None:
    lab = play(bowl(), search_space={"weight_decay": {"low": 0.0, "high": 0.2}})
    carried = lab.decision("carried_over")
    assert carried.numbers["transfer"]["learning_rate"]["class"] == "unlikely"
    assert carried.numbers["transfer"]["weight_decay"]["class"] == "might"
    assert "weight_decay (regularisation): might transfer" in carried.reason


def test_the_answer_is_the_budget_of_the_phase_that_produced_the_best_trial() -> None:
    lab = play(bowl())
    assert isinstance(lab.end, Conclude)
    answer = lab.end.answer
    best = min(lab.study.trials(), key=lambda t: t.best_value if t.phase != "budget_sweep" and t.best_value else 9.0)
    assert (answer.max_train_steps, answer.best_trial, answer.best_value) == (1200, best.trial, best.best_value)
    assert answer.sharing == "exact"
    assert answer.test_value is None


def test_when_longer_training_does_not_help_the_shorter_round_answers_and_says_so() -> None:
    def best_at_300_when_short(spec: RunSpec, step: int) -> Losses:
        return 1.0, 1.0 + abs(step - spec.max_train_steps / 2) / 1000 + spec.max_train_steps / 1000

    lab = play(rounds_do(best_at_300_when_short))
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 600
    assert "longer training did not help" in lab.decision("answer").reason


def test_a_lucky_seed_does_not_make_a_point_the_answer() -> None:
    def lucky(spec: RunSpec, step: int) -> Losses:
        distance = abs(spec.learning_rate - 1e-3)
        base = 2.0 + distance - step / 1e4
        # The worse of the two points has one seed far better than any, and others far worse.
        if distance > 1e-4 and spec.max_train_steps > 600:
            base += -0.5 if spec.seed == trial_seed(7, 1) else 1.5
        return 1.0, base

    lab = play(rounds_do(lucky), round_2={"num_seeds": 3})
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.params["learning_rate"] == pytest.approx(1e-3)


def test_round_1_infeasible_everywhere_gives_no_answer_but_remedies() -> None:
    lab = play(rounds_do(lambda spec, step: "non-finite"))
    assert isinstance(lab.end, GiveUp)
    assert "round_1: 6 of 6 trials are infeasible" in lab.end.reason
    assert "search_space.learning_rate" in lab.end.reason


def test_round_1_crashed_everywhere_names_the_crash() -> None:
    lab = play(rounds_do(lambda spec, step: "crash"))
    assert isinstance(lab.end, GiveUp)
    assert "round_1: all 6 trials crashed (ran out of luck)" in lab.end.reason


def test_without_a_feasible_trial_in_round_2_round_1_answers_and_says_so() -> None:
    lab = play(rounds_do(lambda spec, step: "non-finite" if spec.max_train_steps > 600 else bowl()(spec, step)))
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 600
    assert "no trial of round_2 was feasible" in lab.decision("answer").reason


def test_a_longer_round_1_that_crashed_leaves_round_2_to_the_shorter_one() -> None:
    world = rounds_do(lambda spec, step: "crash" if spec.max_train_steps == 1200 else bowl()(spec, step))
    lab = play(world, round_1=RAW, round_2={"budget_multiple": 3})
    assert lab.study.phase("round_1.2").verdict == "undecided"
    assert lab.study.phase("round_2").plan.max_train_steps == 3 * 600


def test_infeasible_trials_are_not_judged_and_are_counted() -> None:
    world = rounds_do(lambda spec, step: "non-finite" if spec.learning_rate > 2e-3 else bowl()(spec, step))
    lab = play(world, round_1={"num_trials": 8})
    verdict = lab.decision("verdict", "round_1")
    infeasible = [t for t in lab.trials("round_1") if t.outcome and t.outcome.kind == "infeasible"]
    assert infeasible
    assert verdict.numbers["num_feasible"] == 8 - len(infeasible)
    assert f"{len(infeasible)} of 8 trials infeasible or crashed" in verdict.reason


def test_a_study_may_end_after_round_1() -> None:
    lab = play(bowl(), round_2=None)
    assert [p.name for p in lab.phases] == ["budget_sweep", "round_1"]
    assert isinstance(lab.end, Conclude)


def test_a_warmup_that_does_not_fit_the_derived_budget_is_refused_not_shortened() -> None:
    lab = play(bowl(), training={"warmup_steps": 490})
    assert isinstance(lab.end, GiveUp)
    for part in ("training.warmup_steps=490", "120", "600", "training.decay_share"):
        assert part in lab.end.reason


def test_a_round_with_too_few_evaluations_warns_when_it_opens_with_the_cadence_that_would_do() -> None:
    coarse = play(bowl(), evaluation={"every_steps": 50}).decision("round_opened", "round_1").reason
    told = "12 evaluations in 600 steps are fewer than the 20 that judge a budget: evaluation.every_steps=50 would have"
    assert f"warning: {told} to be at most 30" in coarse
    assert "warning" not in play(bowl(), evaluation={"every_steps": 30}).decision("round_opened", "round_1").reason
