"""Studies whose hours are limited: what is cut, in which order, and that they end in time with an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from synthetic import Lab, bowl, config_of
from test_protocol_kinds import NO_FIT, falls_for_ever

from tuner.protocol.measured import Measured
from tuner.records import Conclude, GiveUp, Outcome


def slow(hours: float, seconds_per_step: Callable[[int], float], *, workers: int = 1, **sections: Any) -> Lab:
    """A study of a fit within 600 steps on a machine of a given speed."""
    lab = Lab(config_of(limits={"study_hours": hours}, **sections), bowl(), seconds_per_step=seconds_per_step)
    lab.measured = Measured(num_workers=workers)
    return lab.play(max_moves=80)


def hours_of(lab: Lab) -> float:
    return lab.measured.elapsed_seconds / 3600


def cuts(lab: Lab) -> list[str]:
    return [decision.reason for decision in lab.decisions if decision.kind == "cut"]


def test_a_study_with_hours_enough_is_not_cut_and_tells_the_cost_of_each_phase() -> None:
    lab = slow(100, lambda done: 1.0, workers=2)
    assert not cuts(lab)
    cost = lab.decision("cost", "round_1").numbers
    assert cost["hours"] == pytest.approx(6 * 600 * 1.0 / 2 / 3600)
    assert cost["seconds_per_step"] == 1.0
    assert {d.phase for d in lab.decisions if d.kind == "cost"} == {"round_1", "round_2"}


def test_without_study_hours_nothing_is_costed_or_cut() -> None:
    lab = Lab(config_of(), bowl(), seconds_per_step=lambda done: 1.0).play()
    assert not {"cost", "cut"} & set(lab.kinds())


# The sweep takes up to 5 x 600 steps and rung; round 1 6 x 600 steps, round 2 4 x 1200.
@pytest.mark.parametrize(
    ("hours", "points", "long_trials"),
    [(4.0, 6, 4), (2.6, 6, 2), (2.4, 5, 2), (2.05, 5, 1)],
)
def test_seeds_are_cut_first_then_points(hours: float, points: int, long_trials: int) -> None:
    lab = slow(hours, lambda done: 1.0, budget={"first_guess_steps": 600})
    assert len(lab.trials("round_1")) == points
    assert len(lab.trials("round_2")) == long_trials
    assert hours_of(lab) <= 1.1 * hours
    assert isinstance(lab.end, Conclude)
    assert bool(cuts(lab)) == ((points, long_trials) != (6, 4))


def test_round_2_is_skipped_before_round_1_falls_below_five_points() -> None:
    lab = slow(1.75, lambda done: 1.0, budget={"first_guess_steps": 600})
    assert len(lab.trials("round_1")) == 5
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "round_1"]
    assert "round_2 is skipped" in cuts(lab)[-1]
    assert isinstance(lab.end, Conclude)


def test_hours_that_hold_no_trial_end_with_the_remedy() -> None:
    lab = slow(0.9, lambda done: 1.0, budget={"first_guess_steps": 600})
    assert isinstance(lab.end, GiveUp)
    assert "limits.study_hours=0.9 does not hold one trial of 600 steps" in lab.end.reason


@pytest.mark.parametrize("after", [2500, 4000, 6500, 9000])
@pytest.mark.parametrize("hours", [3.0, 4.0])
def test_a_machine_that_slows_down_ends_the_study_in_time_with_an_answer(after: int, hours: float) -> None:
    lab = slow(hours, lambda done: 1.0 if done < after else 4.0, budget={"first_guess_steps": 600})
    assert hours_of(lab) <= 1.1 * hours
    assert isinstance(lab.end, Conclude)
    assert all(phase.is_closed for phase in lab.phases)


def test_time_that_is_up_in_round_1_answers_with_what_was_measured_and_does_not_judge() -> None:
    lab = slow(1.5, lambda done: 1.0 if done < 3100 else 400.0, budget={"first_guess_steps": 600})
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.verdict == "undecided"
    assert "more hours would decide it" in lab.decision("verdict", "round_1").reason
    assert Outcome("complete", "study_hours") in {trial.outcome for trial in lab.trials("round_1")}
    assert "out_of_time" in lab.kinds()


def test_time_that_is_up_in_the_sweep_gives_no_answer_but_the_remedy() -> None:
    lab = slow(0.2, lambda done: 1.0)
    assert isinstance(lab.end, GiveUp)
    assert "limits.study_hours=0.2 were over before any trial of round 1" in lab.end.reason


def test_the_sweep_takes_at_most_its_share_and_what_is_left_buys_the_length() -> None:
    config = config_of(budget=NO_FIT | {"max_steps": 64_000}, limits={"study_hours": 10})
    lab = Lab(config, falls_for_ever(), seconds_per_step=lambda done: 1.0).play(max_moves=80)
    assert "beyond its 15 % of the hours" in cuts(lab)[0]
    assert max(trial.last_step for trial in lab.trials("budget_sweep")) < 4000
    assert lab.decision("production").numbers["production_steps"] > 4000
    assert hours_of(lab) <= 1.1 * 10
    assert isinstance(lab.end, Conclude)


def test_a_probe_that_does_not_fit_is_skipped_and_leaves_the_verdict_open() -> None:
    sections = {"round_1": {"adjust": "probe"}, "budget": {"first_guess_steps": 600}}
    lab = slow(2.4, lambda done: 1.0, round_2=None, **sections)
    assert "round_1.probe is skipped" in cuts(lab)[-1]
    assert lab.study.phase("round_1").verdict == "undecided (decay-confounded)"
    assert isinstance(lab.end, Conclude)
