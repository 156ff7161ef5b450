"""The plan before anything is known."""

from __future__ import annotations

import pytest
from synthetic import config_of

from tuner.errors import ConfigError
from tuner.protocol.plan import closed_form_plan


def test_the_plan_names_the_phases_that_may_come() -> None:
    raw = {"num_trials": 6, "adjust": "raw", "max_adjustments": 2}
    assert [p.name for p in closed_form_plan(config_of())] == ["budget_sweep", "round_1", "round_2"]
    assert [p.name for p in closed_form_plan(config_of(round_2=None))] == ["budget_sweep", "round_1"]
    names = [p.name for p in closed_form_plan(config_of(round_1=raw))]
    assert names == ["budget_sweep", "round_1", "round_1.2", "round_1.3", "round_2"]


def test_the_plan_bounds_trials_and_steps() -> None:
    sweep, first, longer, second = closed_form_plan(config_of(round_1={"adjust": "raw", "max_adjustments": 1}))
    assert (sweep.min_trials, sweep.max_trials, sweep.min_steps, sweep.max_steps) == (5, 8, 20, 4000)
    assert (first.min_steps, first.max_steps, first.max_evals) == (20, 4000, 25)
    assert (first.min_trials, first.max_trials) == (6, 8)  # two more beyond an edge
    assert (longer.min_trials, longer.max_trials, longer.max_steps) == (0, 8, 8000)
    assert (second.min_trials, second.max_trials, second.max_steps) == (2, 4, 16000)


def test_the_plan_shows_the_branches_of_a_study_with_a_production_length() -> None:
    budget = {"first_guess_steps": 500, "max_steps": 4000, "perfect_fit": None, "production_steps": 50_000}
    two = {"budget_multiple": "auto"}
    sweep, cooldown, first, second = closed_form_plan(config_of(budget=budget, round_2=two))
    assert cooldown.name == "budget_sweep.cooldown"
    assert (cooldown.min_trials, cooldown.max_trials, cooldown.max_steps) == (0, 5, 4400)
    assert (first.min_steps, first.max_steps, second.max_steps) == (20, 5000, 50_000)
    assert "10 % of the production length" in first.note
    stated = config_of(workload_kind="compute_bound", budget=budget, round_2=two, round_1={"adjust": "probe"})
    sweep, cooldown, first, second = closed_form_plan(stated)
    assert (sweep.max_steps, cooldown.max_steps, first.max_steps, second.max_steps) == (500, 550, 5000, 50_000)
    assert "one rung" in sweep.note


def test_run_hours_are_told_where_their_steps_are_not_known_yet() -> None:
    config = config_of(limits={"run_hours": 2}, round_2={"budget_multiple": "auto"})
    notes = {phase.name: phase.note for phase in closed_form_plan(config)}
    assert "what limits buy" in notes["round_1"]
    assert "what limits buy" in notes["round_2"]


def test_limited_hours_may_leave_fewer_trials() -> None:
    plan = {phase.name: phase for phase in closed_form_plan(config_of(limits={"study_hours": 4}))}
    assert (plan["round_1"].min_trials, plan["round_1"].max_trials) == (1, 6 + 2)
    assert (plan["round_2"].min_trials, plan["round_2"].max_trials) == (0, 4)
    assert "limits.study_hours" in plan["round_2"].note


def test_a_given_cadence_makes_longer_phases_evaluate_more() -> None:
    config = config_of(round_1={"adjust": "raw", "max_adjustments": 1}, evaluation={"every_steps": 10})
    _, first, longer, _ = closed_form_plan(config)
    assert (first.max_evals, longer.max_evals) == (400, 800)


def test_a_warmup_that_cannot_fit_is_refused_by_the_plan() -> None:
    with pytest.raises(ConfigError, match=r"training\.warmup_steps=600 is longer than budget\.first_guess_steps=500"):
        closed_form_plan(config_of(training={"warmup_steps": 600}))
