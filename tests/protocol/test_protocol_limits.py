"""Studies whose hours are limited: what is cut, in which order, and that they end in time with an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, bowl, config_of, trained
from test_protocol_extend import improving
from test_protocol_kinds import NO_FIT, falls_for_ever
from test_protocol_widening import best_at

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
    # Half of them each, and half of the last one, which may begin when the others are done.
    assert cost["hours"] == pytest.approx((6 + 1) * 600 * 1.0 / 2 / 3600)
    assert cost["seconds_per_step"] == 1.0
    assert {d.phase for d in lab.decisions if d.kind == "cost"} == {"budget_sweep", "round_1", "round_2"}


def test_a_cost_is_not_exceeded_by_trials_that_do_not_divide_among_the_workers() -> None:
    # Five trials of 600 on two workers: three after one another.
    measured = Measured(num_steps=1, worker_seconds=1.0, num_workers=2)
    assert measured.seconds_for(5 * 600, longest=600) == 3 * 600
    assert measured.seconds_for(600, longest=600) == 600
    assert replace(measured, num_workers=1).seconds_for(5 * 600, longest=600) == 5 * 600


def test_without_study_hours_nothing_is_costed_or_cut() -> None:
    lab = Lab(config_of(), bowl(), seconds_per_step=lambda done: 1.0).play()
    assert not {"cost", "cut"} & set(lab.kinds())


# The sweep takes up to 5 x 600 steps and rung; round 1 6 x 600 steps, round 2 4 x 1200.
@pytest.mark.parametrize(
    ("hours", "points", "long_trials"),
    [(4.0, 6, 4), (2.6, 6, 2), (2.2, 5, 2), (2.05, 5, 1)],
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
    lab = slow(5.6, lambda done: 1.0 if done < 2900 else 170.0, budget={"first_guess_steps": 600})
    assert isinstance(lab.end, GiveUp)
    assert "limits.study_hours=5.6 does not hold one trial of 600 steps" in lab.end.reason


@pytest.mark.parametrize("after", [2500, 4000, 6500, 9000])
@pytest.mark.parametrize("hours", [3.0, 4.0])
def test_a_machine_that_slows_down_ends_the_study_in_time_with_an_answer(after: int, hours: float) -> None:
    lab = slow(hours, lambda done: 1.0 if done < after else 4.0, budget={"first_guess_steps": 600})
    assert hours_of(lab) <= 1.1 * hours
    assert isinstance(lab.end, Conclude)
    assert all(phase.is_closed for phase in lab.phases)


def test_time_that_is_up_in_round_1_answers_with_what_was_measured_and_does_not_judge() -> None:
    lab = slow(2.0, lambda done: 1.0 if done < 3100 else 400.0, budget={"first_guess_steps": 600})
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.verdict == "undecided"
    assert "more hours would decide it" in lab.decision("verdict", "round_1").reason
    assert Outcome("complete", "study_hours") in {trial.outcome for trial in lab.trials("round_1")}
    assert "out_of_time" in lab.kinds()


def test_time_that_is_up_in_the_sweep_gives_no_answer_but_the_remedy() -> None:
    lab = slow(2, lambda done: 1.0 if done < 200 else 100.0)
    assert isinstance(lab.end, GiveUp)
    assert "limits.study_hours=2 were over before any trial of round 1" in lab.end.reason
    assert "`tuner extend made-up limits.study_hours=...`" in lab.end.reason
    at_once = slow(1000, lambda done: 1.0 if done < 200 else 100.0)
    lab.extend(config_of(limits={"study_hours": 1000}), max_moves=80)
    assert isinstance(lab.end, Conclude)
    assert isinstance(at_once.end, Conclude)
    assert lab.end.answer == at_once.end.answer


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


# ---------------------------------------------------------------- the first rung


def test_hours_that_cut_nothing_change_no_number_of_the_study() -> None:
    free, limited = Lab(config_of(), bowl()).play(), slow(100, lambda done: 1.0)
    for phase in ("budget_sweep", "round_1", "round_2"):
        assert [(t.spec, t.outcome, t.last_step, t.best_value) for t in free.trials(phase)] == [
            (t.spec, t.outcome, t.last_step, t.best_value) for t in limited.trials(phase)
        ]
    assert limited.end.answer == free.end.answer


def test_every_rate_is_measured_at_its_first_evaluation_before_the_first_rung_is_run() -> None:
    lab = slow(4, lambda done: 1.0, budget={"first_guess_steps": 600})
    opened, raised = lab.moves[:2]
    # A warmup of 30 steps, an evaluation every 24.
    assert {trial.spec.max_train_steps for trial in opened.trials} == {48}
    assert raised.max_train_steps == 600
    assert raised.decisions[0].numbers["measured_steps"] == 5 * 48


@pytest.mark.parametrize("workers", [1, 5, 40])
def test_a_first_rung_whose_budget_no_round_could_use_is_cut(workers: int) -> None:
    seconds = 1.0 * min(workers, 5)
    lab = slow(0.8, lambda done: seconds, workers=workers, budget={"first_guess_steps": 600})
    told = lab.decision("cut", "budget_sweep")
    assert "since a longer budget would leave no room for 5 points of round 1" in told.reason
    rung = max(trial.last_step for trial in lab.trials("budget_sweep"))
    assert 200 < rung < 600
    assert rung % 24 == 0
    assert hours_of(lab) <= 1.1 * 0.8
    assert isinstance(lab.end, Conclude)


def test_a_first_rung_without_a_threshold_is_cut_to_the_sweeps_share() -> None:
    lab = slow(3, lambda done: 1.0, budget=NO_FIT | {"first_guess_steps": 1000})
    assert "the sweep's first rung has 320 of 1,000 steps, since 15 % of the hours are the sweep's" in cuts(lab)[0]
    assert isinstance(lab.end, Conclude)


def test_setup_is_not_taken_for_what_a_step_costs() -> None:
    config = config_of(limits={"study_hours": 2}, budget={"first_guess_steps": 600})
    lab = Lab(config, bowl(), measured=Measured(num_steps=120, worker_seconds=600, training_seconds=120)).play()
    assert lab.decision("cost", "budget_sweep").numbers["seconds_per_step"] == 1.0
    assert lab.decision("cost", "round_1").numbers["seconds_per_step"] == 5.0


def test_hours_that_hold_no_sweep_end_after_its_first_evaluations_with_both_remedies() -> None:
    lab = slow(0.1, lambda done: 1.0)
    assert isinstance(lab.end, GiveUp)
    for part in (
        "limits.study_hours=0.1 holds no sweep",
        "may have 20 steps, where two evaluations after the warmup take 60",
        "Raise limits.study_hours (1.458 hold the first rung as it is), or lower budget.first_guess_steps=500",
    ):
        assert part in lab.end.reason
    assert {trial.last_step for trial in lab.trials("budget_sweep")} == {40}
    enough = slow(1.458, lambda done: 1.0)
    assert max(trial.spec.max_train_steps for trial in enough.trials("budget_sweep")) >= 500


def test_a_sweep_that_hours_end_names_them_and_not_max_steps() -> None:
    lab = slow(1, lambda done: 1.0, workload_kind="not_compute_bound", budget={"first_guess_steps": 600})
    assert isinstance(lab.end, GiveUp)
    assert "within 360 steps, where limits.study_hours=1 end the sweep" in lab.end.reason
    assert "or raise limits.study_hours" in lab.end.reason
    assert "budget.max_steps" not in lab.end.reason


# ---------------------------------------------------------------- widenings


def on_the_edge(hours: float) -> Lab:
    config = config_of(limits={"study_hours": hours}, budget={"first_guess_steps": 600})
    return Lab(config, bowl(1e-4), seconds_per_step=lambda done: 1.0, measured=Measured(num_workers=1)).play()


def test_the_sweep_is_widened_while_seeds_and_points_can_still_be_cut_for_it() -> None:
    # The sweep 3000 steps, its widening 600, five points 3000, one long trial 1200.
    lab = on_the_edge(2.2)
    assert lab.decision("widened").numbers["edge"] == "lower"
    assert (len(lab.trials("round_1")), len(lab.trials("round_2"))) == (5, 1)
    assert "not on the edge" in lab.decision("budget").reason


def test_the_sweep_is_not_widened_where_only_a_whole_phase_could_be_cut_for_it() -> None:
    lab = on_the_edge(2.0)
    assert "widened" not in lab.kinds()
    assert "no rate joins budget_sweep beyond the edge" in cuts(lab)[0]
    assert "warning: it lies on the lower edge of the grid" in lab.decision("budget").reason
    assert "round_2" in {phase.name for phase in lab.phases}
    assert isinstance(lab.end, Conclude)


@pytest.mark.parametrize(("hours", "num_trials"), [(4.5, 20), (4.3, 16)])
def test_round_1_is_widened_only_if_a_long_trial_still_fits_beside_it(hours: float, num_trials: int) -> None:
    # The sweep 3000 steps, 16 points 9600, four more 2400, one long trial 1200.
    sections = {"budget": {"first_guess_steps": 600}, "round_1": {"num_trials": 16}, "round_2": {"num_trials": 1}}
    config = config_of(limits={"study_hours": hours}, **sections)
    lab = Lab(config, best_at(1.0), seconds_per_step=lambda done: 1.0, measured=Measured(num_workers=1)).play()
    assert len(lab.trials("round_1")) == num_trials
    assert any("no rate joins round_1" in reason for reason in cuts(lab)) == (num_trials == 16)
    assert lab.trials("round_2")
    assert isinstance(lab.end, Conclude)


@pytest.mark.parametrize(("hours", "last", "skipped"), [(11.0, "round_1.3", True), (12.5, "round_1.4", False)])
def test_the_budget_is_doubled_while_a_long_trial_still_fits_beside_it(hours: float, last: str, skipped: bool) -> None:
    # 6.7 hours until round_1.3 is judged; round_1.4 would add 6 x 2520 steps, 4.2 hours, a long trial up to 1.6.
    sections = {"round_1": {"adjust": "raw", "max_adjustments": 3, "decay_shares": []}}
    config = config_of(limits={"study_hours": hours}, **sections)
    world, quiet = trained(improving), Measured(num_workers=1)
    lab = Lab(config, world, seconds_per_step=lambda done: 1.0, measured=quiet).play(max_moves=120)
    assert [phase.name for phase in lab.phases if phase.plan.kind == "round_1"][-1] == last
    assert any("round_1.4 is skipped for the rounds after it" in reason for reason in cuts(lab)) == skipped
    assert lab.trials("round_2")
    assert hours_of(lab) <= hours
    assert isinstance(lab.end, Conclude)


def test_the_decay_is_tuned_anew_though_the_hours_do_not_hold_a_further_doubling() -> None:
    sections = {
        "budget": {"first_guess_steps": 600},
        "round_1": {"adjust": "raw", "max_adjustments": 2, "decay_shares": [0.1, 0.2, 0.4]},
        "round_2": {"num_trials": 1, "num_seeds": 1, "budget_multiple": 1},
    }
    config = config_of(limits={"study_hours": 5.2}, **sections)
    quiet = Measured(num_workers=1)
    lab = Lab(config, trained(improving), seconds_per_step=lambda done: 1.0, measured=quiet).play(max_moves=120)
    assert any("round_1.3 is skipped" in reason for reason in cuts(lab))
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "round_1", "round_1.2", "round_1.decay", "round_2"]
    assert hours_of(lab) <= 5.2


def test_a_frontier_that_fits_is_measured_though_the_long_round_did_not() -> None:
    # The sweep and round 1 leave 0.43 hours: a long trial adds 0.53, four cooldowns 0.07.
    sections = {
        "round_1": {"adjust": "none", "decay_shares": []},
        "round_2": {"num_trials": 2, "num_seeds": 1, "budget_multiple": 4},
        "frontier": {"num_budgets": 4, "half_rate": False},
    }
    lab = slow(2.1, lambda done: 1.0, budget={"first_guess_steps": 600}, **sections)
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "round_1", "frontier"]
    assert ["round_2 is skipped" in reason for reason in cuts(lab)].count(True) == 1
    assert lab.phases[-1].is_closed
    assert hours_of(lab) <= 2.1
    assert isinstance(lab.end, Conclude)


# ---------------------------------------------------------------- samplers that learn


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_points_of_a_sampler_that_learns_are_cut_when_the_round_opens_and_the_number_binds(sampler: str) -> None:
    round_1 = {"sampler": sampler, "parallelism": 2, "num_trials": 12}
    lab = slow(1.45, lambda done: 1.0, workers=4, budget={"first_guess_steps": 600}, round_1=round_1)
    told = lab.decision("cut", "round_1").numbers
    # Two proposals at a time keep two of the four workers busy.
    assert (told["num_points"], told["num_workers"]) == (11, 2)
    assert lab.decision("cost", "round_1").numbers["num_trials"] == 11
    assert len(lab.trials("round_1")) == 11
    assert [d.numbers["num_points"] for d in lab.decisions if d.kind == "generation"] == [2, 2, 2, 2, 1]


def test_many_workers_make_no_single_run_faster() -> None:
    config = config_of(
        budget=NO_FIT | {"max_steps": 8000}, limits={"study_hours": 10}, round_2={"budget_multiple": "auto"}
    )
    lab = Lab(config, falls_for_ever(), seconds_per_step=lambda done: 1.0, measured=Measured(num_workers=50)).play()
    assert lab.decision("production").numbers["production_steps"] <= 36_000 / 1.1
