"""`limits.run_hours`: no run of any round is longer than what they buy; what is left out is told with the remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, World, bowl, config_of, trained
from test_protocol_kinds import NO_FIT, falls_for_ever

from tuner.protocol.measured import Measured
from tuner.protocol.plan import closed_form_plan
from tuner.records import Conclude, GiveUp

A_SECOND = Measured(num_steps=10_000, worker_seconds=10_000)
"""A second for each step, so that two hours buy 7,200."""

TWICE = {"budget_multiple": 2, "lower_rate_twin": False}


def play(world: World, *, hours: float = 2, measured: Measured = A_SECOND, **sections: Any) -> Lab:
    lab = Lab(config_of(limits={"run_hours": hours}, **sections), world, measured=measured)
    return lab.play(max_moves=80)


def longer(rounds: list[dict[str, Any]], **sections: Any) -> Lab:
    return play(falls_for_ever(), budget=NO_FIT, round_2=None, rounds=rounds, **sections)


def cuts(lab: Lab) -> list[str]:
    return [decision.reason for decision in lab.decisions if decision.kind == "cut"]


def longest(lab: Lab) -> int:
    return max(trial.spec.max_train_steps for trial in lab.study.trials())


def improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def test_given_multiples_beyond_what_run_hours_buy_leave_the_round_and_those_after_it_out() -> None:
    lab = longer([{**TWICE, "budget_multiple": 4}, {**TWICE, "budget_multiple": 4}, TWICE])
    assert [phase.name for phase in lab.phases][-2:] == ["round_1", "round_2"]
    assert (
        "limits.run_hours=2 buys 7,200 steps at the measured 1 seconds per step: round_3, 11,520 steps a trial, is "
        "skipped with the rounds after it"
    ) in cuts(lab)[-1]
    assert "raise limits.run_hours to 3.36, or lower the multiples (budget_multiple)" in cuts(lab)[-1]
    assert longest(lab) <= 7200
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 2880


def test_a_round_2_beyond_what_run_hours_buy_is_left_out_too() -> None:
    lab = play(falls_for_ever(), budget=NO_FIT, round_2={"budget_multiple": 20})
    assert "round_2, 14,400 steps a trial, is skipped (" not in cuts(lab)[-1]
    assert "round_2, 14,400 steps a trial, is skipped" in cuts(lab)[-1]
    assert "with the rounds after it" not in cuts(lab)[-1]
    assert longest(lab) <= 7200
    assert isinstance(lab.end, Conclude)


@pytest.mark.parametrize("bought", [7206, 7204, 2064])
@pytest.mark.parametrize("multiples", [[10], [2.5, 4], [1.5, 6.6666]])
def test_multiples_that_lead_to_all_that_was_bought_are_not_cut_for_a_rounded_step(
    bought: int, multiples: list[float]
) -> None:
    rounds = [{**TWICE, "budget_multiple": each} for each in multiples]
    lab = longer(rounds, hours=bought / 3600)
    assert not [reason for reason in cuts(lab) if "round_" in reason]
    assert abs(lab.phases[-1].plan.max_train_steps - bought) < 20


def test_what_was_bought_binds_however_slow_later_steps_are() -> None:
    lab = longer([{"budget_multiple": "auto", "lower_rate_twin": False}])
    later = Lab(lab.config, lab.world, measured=replace(A_SECOND, worker_seconds=50_000))
    later.phases, later.curves, later.decisions = lab.phases[:3], lab.curves, lab.decisions
    assert later.play().phases[-1].plan.max_train_steps == 7200


def test_a_round_1_that_is_too_short_grows_no_further_than_run_hours_buy() -> None:
    sections: dict[str, Any] = {"round_1": {"adjust": "probe"}, "budget": {"first_guess_steps": 600}}
    free = play(trained(improving), hours=10, **sections)
    assert "round_1.3" in [phase.name for phase in free.phases]
    lab = play(trained(improving), hours=0.5, **sections)
    # 1,800 steps: a doubled round of 1,200 runs, the probe of it would have 2,400.
    assert "round_1.2.probe, 2,400 steps a trial, is skipped" in " ".join(cuts(lab))
    assert longest(lab) <= 1800
    assert isinstance(lab.end, Conclude)


def test_the_sweep_ends_before_a_rung_that_no_run_may_have() -> None:
    # 2,000 steps and their cooldown fit into 0.7 hours, 4,000 do not.
    lab = play(falls_for_ever(), budget=NO_FIT, hours=0.7, round_2={"budget_multiple": "auto"})
    assert "the sweep ends before its rung of 4,000 steps" in cuts(lab)[0]
    assert max(trial.last_step for trial in lab.trials("budget_sweep")) == 2000
    assert lab.decision("production").numbers["production_steps"] == 2520
    assert "still improves at 2,000 steps, where the hours end the sweep" in lab.decision("workload_kind").reason
    assert longest(lab) <= 2520
    assert isinstance(lab.end, Conclude)


def test_a_budget_of_the_sweep_that_no_run_may_have_ends_the_study_with_the_remedy() -> None:
    lab = play(bowl(), hours=0.1, budget={"first_guess_steps": 600})
    assert isinstance(lab.end, GiveUp)
    for part in (
        "limits.run_hours=0.1 buys 360 steps at the measured 1 seconds per step",
        "round_1, 600 steps a trial",
        "raise limits.run_hours to 0.175",
    ):
        assert part in lab.end.reason


def test_a_frontier_beyond_what_run_hours_buy_is_left_out() -> None:
    lab = play(bowl(), hours=0.5, frontier={"budgets": [600, 2400]}, round_2=None)
    assert "frontier, 2,400 steps a trial, is skipped" in cuts(lab)[-1]
    assert isinstance(lab.end, Conclude)


def test_run_hours_that_cut_nothing_change_no_number_of_the_study() -> None:
    free, limited = Lab(config_of(), bowl()).play(), play(bowl(), hours=10)
    assert not cuts(limited)
    assert [(t.spec, t.best_value) for t in free.study.trials()] == [
        (t.spec, t.best_value) for t in limited.study.trials()
    ]
    assert limited.end.answer == free.end.answer
    assert not [d for d in limited.decisions if d.kind == "cost"]


def test_the_plan_says_what_run_hours_may_leave_out() -> None:
    given = config_of(limits={"run_hours": 2}, round_2=None, rounds=[TWICE, TWICE])
    plan = {phase.name: phase for phase in closed_form_plan(given)}
    assert (plan["round_2"].min_trials, plan["round_3"].min_trials) == (0, 0)
    assert "not if it is longer than limits.run_hours buy" in plan["round_3"].note
    assert plan["round_1"].min_trials == 6
