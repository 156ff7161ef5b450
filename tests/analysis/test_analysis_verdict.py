"""Verdicts on synthetic curves with known answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tuner.analysis.verdict import BudgetCheck, judge_budget, rank_by_best_mean
from tuner.records import Curve

T = 1000


def curve_of(shape: Callable[[float], float], *, num_evals: int = 25, noise: float = 0.0, seed: int = 0) -> Curve:
    generator = np.random.default_rng(seed)
    steps = [round(T * index / num_evals) for index in range(1, num_evals + 1)]
    return tuple((step, shape(step / T) + float(generator.normal(0, noise) if noise else 0.0)) for step in steps)


def judge(curves: dict[int, Curve], adjust: str = "none") -> BudgetCheck:
    return judge_budget(curves, T, direction="minimize", eval_every_steps=T // 25, adjust=adjust)  # type: ignore[arg-type]


def trials(shape: Callable[[float], float], count: int = 8, **options: float) -> dict[int, Curve]:
    return {
        trial: curve_of(lambda p, lift=0.01 * trial: shape(p) + lift, seed=trial, **options)  # type: ignore[misc, arg-type]
        for trial in range(1, count + 1)
    }


def falling(p: float) -> float:
    return 3.0 - 2.0 * p


def overfits_at_once(p: float) -> float:
    return 1.0 + p


def best_in_the_middle(p: float) -> float:
    return 1.0 + (p - 0.5) ** 2


def test_overfitting_from_the_start_is_too_long() -> None:
    check = judge(trials(overfits_at_once))
    assert check.verdict == "too long"
    assert check.everyone.good_early.count == check.num_feasible == 8
    assert check.latest_good_step_of_leaders is not None
    assert check.latest_good_step_of_leaders <= 0.1 * T


def test_late_best_steps_alone_are_undecided_because_the_decay_pulls_them() -> None:
    check = judge(trials(falling, noise=0.01))
    assert check.verdict == "undecided (decay-confounded)"
    assert check.num_late == 8
    assert "8 of 8" in check.reason


def test_late_best_steps_are_too_short_when_the_user_takes_them_at_their_word() -> None:
    assert judge(trials(falling, noise=0.01), "raw").verdict == "too short"


def test_best_steps_in_the_middle_are_adequate() -> None:
    assert judge(trials(best_in_the_middle)).verdict == "adequate"


def test_a_mixture_without_three_quarters_is_adequate() -> None:
    mixed = {
        **{trial: curve_of(falling) for trial in range(4)},
        **{trial: curve_of(best_in_the_middle) for trial in (5, 6)},
    }
    assert judge(mixed, "raw").verdict == "adequate"


def test_both_groups_must_agree() -> None:
    # Ten of twelve are late, but of the best four only two.
    curves = {trial: curve_of(lambda p: 5 - p) for trial in range(1, 9)}
    curves |= {9: curve_of(lambda p: 1.5 - p), 10: curve_of(lambda p: 1.5 - p)}
    curves |= {trial: curve_of(lambda p: 0.1 + (p - 0.5) ** 2) for trial in (11, 12)}
    check = judge(curves, "raw")
    assert check.everyone.best_late.is_at_least(75)
    assert set(check.leading_trials) == {9, 10, 11, 12}
    assert check.verdict == "adequate"


def test_few_trials_leave_it_undecided_and_say_what_would_decide() -> None:
    check = judge(trials(overfits_at_once, count=4))
    assert check.verdict == "undecided"
    assert "4 feasible trials are fewer than 5" in check.reason


def test_few_evaluations_leave_it_undecided_and_say_what_would_decide() -> None:
    check = judge(trials(overfits_at_once, num_evals=19))
    assert check.verdict == "undecided"
    assert "19 evaluations are fewer than 20" in check.reason
    assert "at most 50" in check.reason


def test_a_run_too_short_for_the_evaluations_is_told_no_cadence_that_it_cannot_have() -> None:
    curves = {trial: tuple((step, 1.0 / step) for step in range(1, 16)) for trial in range(8)}
    check = judge_budget(curves, 15, direction="minimize", eval_every_steps=1, adjust="none")
    assert "15 evaluations are fewer than 20 (so short a run holds no more)" in check.reason


def test_no_trial_at_all_is_undecided() -> None:
    check = judge({1: ()})
    assert (check.verdict, check.num_feasible, check.median_first_good_step) == ("undecided", 0, None)


def test_noisy_flat_curves_are_too_long_where_the_raw_rule_sees_nothing() -> None:
    checks = [
        judge({trial: curve_of(lambda p: 1.0, noise=0.05, seed=100 * study + trial) for trial in range(8)})
        for study in range(60)
    ]
    found = sum(check.verdict == "too long" for check in checks)
    raw = sum(check.num_early == check.num_feasible for check in checks)
    assert found >= 0.76 * len(checks)
    assert raw == 0


@pytest.mark.parametrize(("num_trials", "num_leaders"), [(3, 3), (5, 4), (16, 4), (17, 5), (40, 10)])
def test_the_best_group_is_a_quarter_but_at_least_four(num_trials: int, num_leaders: int) -> None:
    check = judge(trials(best_in_the_middle, count=num_trials))
    assert check.leading_trials == tuple(range(1, num_leaders + 1))


def test_a_rising_metric_gives_the_same_verdict() -> None:
    mirrored = {trial: tuple((s, -v) for s, v in curve) for trial, curve in trials(falling).items()}
    check = judge_budget(mirrored, T, direction="maximize", eval_every_steps=40, adjust="raw")
    assert check.verdict == "too short"
    assert check.leading_trials == (1, 2, 3, 4)


def test_one_lucky_evaluation_does_not_lead() -> None:
    lucky = ((10, 2.0), (20, 2.0), (30, 0.5), (40, 2.0), (50, 2.0), (60, 2.0))
    steady = tuple((step, 1.0) for step in (10, 20, 30, 40, 50, 60))
    assert rank_by_best_mean({1: lucky, 2: steady}, "minimize") == (2, 1)
