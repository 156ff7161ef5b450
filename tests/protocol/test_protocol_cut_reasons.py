"""What is printed when a phase opens is the plan after the cut by limits.study_hours, and nothing that was cut."""

from __future__ import annotations

from typing import Any

from synthetic import Lab, config_of, trained
from test_protocol_roles import QUESTION, measured, study_of
from test_protocol_roles import Roles as RolesLab

TWICE = {"budget_multiple": 2, "lower_rate_twin": False}


def improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def flat(step: int) -> float:
    return 1.5


def slow(hours: float, progress: Any = improving, **sections: Any) -> Lab:
    """A second per step: the sweep takes 0.83 hours, a trial of round 1 a sixth of an hour."""
    config = config_of(limits={"study_hours": hours}, **{"budget": {"first_guess_steps": 600}, **sections})
    return Lab(config, trained(progress), seconds_per_step=lambda done: 1.0).play(max_moves=80)


def test_round_1_opens_with_the_points_that_the_hours_hold() -> None:
    lab = slow(2.2)
    opened = lab.decision("round_opened", "round_1")
    assert len(lab.trials("round_1")) == 5
    assert opened.reason.startswith("5 points train for 600 steps")
    assert opened.numbers["num_trials"] == 5
    assert "round_1 has 5 of 6 points" in lab.decision("cut", "round_1").reason


def test_scientific_values_are_told_the_trials_that_they_get_after_the_cut() -> None:
    config = study_of(
        QUESTION, limits={"study_hours": 2.2}, budget={"first_guess_steps": 600}, round_1={"num_trials": 12}
    )
    lab = RolesLab(config, measured, seconds_per_step=lambda done: 1.0)
    lab.play()
    count = len(lab.trials("round_1"))
    assert count == 5
    assert "each of the 2 values of optimizer gets 2 or 3 of them" in lab.decision("round_opened", "round_1").reason


def test_an_automatic_space_is_that_of_the_points_that_the_hours_hold() -> None:
    lab = slow(2.2, search_space="auto", round_1={"num_trials": 30})
    assert len(lab.trials("round_1")) < 10
    opened = lab.decision("round_opened", "round_1").reason
    assert "they search learning_rate" in opened
    assert "epsilon" not in opened


def test_a_later_round_opens_with_the_seeds_that_the_hours_hold() -> None:
    lab = slow(2.7)
    opened = lab.decision("round_opened", "round_2")
    assert len(lab.trials("round_2")) == 2
    assert "with 1 seed each" in opened.reason
    assert opened.numbers["num_seeds"] == 1
    assert "round_2 has 2 of 4 trials, seeds cut before points" in lab.decision("cut", "round_2").reason


def test_a_later_round_opens_with_the_points_that_the_hours_hold_and_without_a_twin_that_was_cut() -> None:
    lab = slow(2.05, round_2={"lower_rate_twin": True})
    opened, carried = lab.decision("round_opened", "round_2"), lab.decision("carried_over", "round_2")
    assert len(lab.trials("round_2")) == 1
    assert opened.reason.startswith("The best point of round_1 trains for 1,200 steps")
    assert "twin" not in opened.reason
    assert opened.numbers["twin"] is None
    assert len(opened.numbers["from_trials"]) == 1
    assert len(carried.numbers["points"]) == 1
    assert "twin" not in lab.decision("answer").reason


def test_a_round_that_the_cut_leaves_to_repeat_the_one_before_is_not_opened_and_the_next_one_is() -> None:
    # Round 2 takes 1.07 hours; two new runs of round 3 would take 0.67, beside one seed of round 4 (0.8).
    rounds = [TWICE, {**TWICE, "budget_multiple": 1, "num_seeds": 3}, TWICE]
    free = slow(100, round_2=None, rounds=rounds)
    assert [phase.name for phase in free.phases][-3:] == ["round_2", "round_3", "round_4"]
    lab = slow(4.2, round_2=None, rounds=rounds)
    assert [phase.name for phase in lab.phases][-2:] == ["round_2", "round_4"]
    assert len(lab.trials("round_2")) == 4
    told = [d.reason for d in lab.decisions if d.kind in ("cut", "round_skipped")]
    assert "round_3 keeps no seed that is new" in told[0]
    assert "it would repeat round_2, with no seed that is new" in told[1]
