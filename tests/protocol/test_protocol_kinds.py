"""The kinds of workload on worlds whose kind is planted: fitted, saturated, compute-bound, nothing at all."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from synthetic import FACTS, Lab, Losses, World, bowl, config_of

from tuner.analysis.saturation import Movement
from tuner.protocol.measured import Measured
from tuner.protocol.saturated import saturated
from tuner.records import Conclude, GiveUp, Outcome, RunSpec

SWEEP, COOLDOWN = "budget_sweep", "budget_sweep.cooldown"
NO_FIT = {"first_guess_steps": 500, "max_steps": 4000, "perfect_fit": None}


def levels_off(level: float, *, optimum: float = 1e-3, speed: float = 150.0, noise: float = 0.0) -> World:
    """Loss falls from 4 to a level that no rate gets below, as contradictory labels have it; fastest at `optimum`."""

    def measure(spec: RunSpec, step: int) -> Losses:
        distance = abs(math.log10(spec.learning_rate / optimum))
        jitter = random.Random(f"{spec.seed}/{spec.learning_rate}/{step}").gauss(0, noise) if noise else 0.0
        train = level + (4 - level) * math.exp(-step / (speed * (1 + 2 * distance)))
        return train + jitter, train + 0.2 + 0.1 * distance + jitter

    return measure


def falls_for_ever(*, optimum: float = 1e-3) -> World:
    """A power law: each doubling betters the loss by 9 %. Only a decay shows how good the high rates are."""

    def measure(spec: RunSpec, step: int) -> Losses:
        decay = spec.schedule.decay_steps
        cooled = decay > 0 and step > spec.max_train_steps - decay
        distance = math.log10(spec.learning_rate / (optimum if cooled else optimum / 3.2))
        loss = 8 * step**-0.14 * (1 + 0.2 * abs(distance))
        return loss, loss + 0.1

    return measure


def play(world: World, *, measured: Measured | None = None, **sections: Any) -> Lab:
    lab = Lab(config_of(**sections), world)
    if measured is not None:
        lab.measured = measured
    return lab.play()


def kind(lab: Lab) -> str:
    return [str(d.numbers["kind"]) for d in lab.decisions if d.kind == "workload_kind"][-1]


# ---------------------------------------------------------------- not compute-bound


def test_a_fit_is_told_as_not_compute_bound() -> None:
    lab = play(bowl(1e-3, steps_at_optimum=600))
    assert kind(lab) == "not_compute_bound"
    assert lab.decision("workload_kind").numbers["steps_to_fit"] == 600


def test_stated_not_compute_bound_never_calls_a_still_metric_saturated() -> None:
    lab = play(levels_off(1.5), workload_kind="not_compute_bound")
    assert isinstance(lab.end, GiveUp)
    assert "budget.perfect_fit.at_most=1: no rate reached" in lab.end.reason


# ---------------------------------------------------------------- saturated


@pytest.mark.parametrize("fit", [None, {"metric": "loss", "at_most": 1.0}])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_label_noise_saturates_and_the_budget_is_where_the_fastest_rate_came_to_rest(fit: Any, noise: float) -> None:
    lab = play(levels_off(1.5, noise=noise), budget={"perfect_fit": fit})
    assert kind(lab) == "saturated"
    decided, budget = lab.decision("workload_kind").numbers, lab.decision("budget").numbers
    assert decided["level"] == pytest.approx(1.5, rel=0.01)
    # 4 falls within 2 % of 1.5 after 150 ln(2.5 / 0.03) = 663 steps; five evaluations of 20 steps lie in a mean.
    assert 600 <= budget["max_train_steps"] <= 760
    assert budget["learning_rate"] == 1e-3
    assert "saturate" in lab.decision("budget").reason
    assert "regularisation will hardly help" in lab.decision("workload_kind").reason
    assert lab.study.phase("round_1").plan.max_train_steps == budget["max_train_steps"]
    assert isinstance(lab.end, Conclude)


def test_a_saturated_sweep_keeps_the_curves_that_show_it() -> None:
    lab = play(levels_off(1.5), budget=NO_FIT)
    assert {t.last_step for t in lab.trials(SWEEP)} == {lab.decision("workload_kind").numbers["rung"]}


def test_a_saturated_rate_on_the_edge_widens_the_grid() -> None:
    lab = play(levels_off(1.5, optimum=2e-2), budget=NO_FIT)
    assert [d.numbers["learning_rate"] for d in lab.decisions if d.kind == "widened"] == [0.0316228, 0.1]
    assert lab.decision("budget").numbers["learning_rate"] == 0.0316228
    assert lab.kinds().count("workload_kind") == 1, "the level was found, and binds"
    lab = play(levels_off(1.5, optimum=1.0), budget=NO_FIT | {"max_steps": 32_000})
    assert isinstance(lab.end, GiveUp)
    assert "budget_sweep.max_widenings=3 used up" in lab.end.reason


def test_a_fit_found_beyond_the_edge_of_a_saturated_grid_wins() -> None:
    def measure(spec: RunSpec, step: int) -> Losses | str:
        if spec.learning_rate > 0.011:
            return (0.9, 1.2) if step >= 300 and spec.learning_rate < 0.05 else (1.4, 1.6)
        return levels_off(1.5, optimum=1e-2)(spec, step)

    lab = play(measure)
    assert [d.numbers["kind"] for d in lab.decisions if d.kind == "workload_kind"] == ["saturated", "not_compute_bound"]
    assert lab.decision("budget").numbers["max_train_steps"] == 300
    assert lab.decision("budget").numbers["learning_rate"] == 0.0316228


def test_a_metric_that_never_moved_is_no_saturation_but_nothing_learned() -> None:
    lab = play(lambda spec, step: (2.0, 2.0), budget=NO_FIT)
    assert isinstance(lab.end, GiveUp)
    for part in ("nothing was learned after it", "budget_sweep.learning_rates (low=0.0001, high=0.01)"):
        assert part in lab.end.reason


def test_a_plateau_at_the_start_is_not_yet_saturation() -> None:
    # Still for the whole first rung, as language models are before they learn, then a fall.
    lab = play(lambda spec, step: (3.0, 3.1) if step <= 500 else bowl()(spec, step), budget={"max_steps": 4000})
    assert kind(lab) == "not_compute_bound"


def test_a_loss_that_only_rises_is_not_saturated() -> None:
    lab = play(lambda spec, step: (1.5 + step / 1e4, 1.5), budget=NO_FIT | {"production_steps": 9000})
    assert isinstance(lab.end, GiveUp)
    assert "it only rose from its first evaluation" in lab.end.reason


def test_stated_saturated_that_never_comes_to_rest_gives_no_answer_but_remedies() -> None:
    lab = play(falls_for_ever(), workload_kind="saturated", budget=NO_FIT)
    assert isinstance(lab.end, GiveUp)
    for part in ("has not come to rest within budget.max_steps=4000", "budget.production_steps", "run_hours"):
        assert part in lab.end.reason


# ---------------------------------------------------------------- compute-bound


def test_still_improving_at_max_steps_takes_the_production_length() -> None:
    lab = play(falls_for_ever(), budget=NO_FIT | {"production_steps": 20_000}, round_2={"budget_multiple": "auto"})
    assert kind(lab) == "compute_bound"
    assert lab.decision("workload_kind").numbers["gain"] > lab.decision("workload_kind").numbers["needed"]
    assert lab.study.phase("round_1").plan.max_train_steps == 2000
    assert lab.study.phase("round_2").plan.max_train_steps == 20_000
    assert "production length" in lab.decision("round_opened", "round_2").reason
    assert isinstance(lab.end, Conclude)


def test_a_threshold_out_of_reach_is_compute_bound_too_once_a_length_is_known() -> None:
    lab = play(falls_for_ever(), budget={"production_steps": 20_000})
    assert kind(lab) == "compute_bound"
    lab = play(falls_for_ever())
    assert isinstance(lab.end, GiveUp)
    for part in ("budget.perfect_fit.at_most=1", "budget.production_steps", "run_hours"):
        assert part in lab.end.reason


def test_run_hours_buy_the_length_at_the_measured_step_time_and_the_decision_keeps_it() -> None:
    spent = Measured(num_steps=10_000, worker_seconds=5_000)
    lab = play(falls_for_ever(), measured=spent, budget=NO_FIT, limits={"run_hours": 2})
    production = lab.decision("production").numbers
    assert production["production_steps"] == 14_400
    assert production["seconds_per_step"] == 0.5
    assert lab.study.phase("round_1").plan.max_train_steps == 1440
    # Measured once: what is measured later changes nothing (D8).
    later = Lab(lab.config, lab.world, measured=replace(spent, worker_seconds=50_000))
    later.phases, later.curves, later.decisions = lab.phases[:2], lab.curves, lab.decisions
    assert later.play().decision("budget") == lab.decision("budget")


@pytest.mark.parametrize(
    ("sections", "parts"),
    [
        (
            {"budget": NO_FIT | {"production_steps": 20_000}, "limits": {"run_hours": 2}},
            (
                "limits.run_hours=2 buys 7,200 steps at the measured 1 seconds per step",
                "budget.production_steps=20000 asks for more: raise run_hours to 5.833",
                "or lower production_steps to 7200",
            ),
        ),
        (
            {"budget": NO_FIT, "limits": {"run_hours": 0.0001}},
            (
                "run_hours=0.0001 buys 0 steps",
                "fewer than the 20 evaluations",
                "Raise limits.run_hours to at least 0.05833",
            ),
        ),
        (
            {"budget": NO_FIT, "limits": {"run_hours": 0.05}},
            ("buys 180 steps", "round 1 gets 10 %: 18 steps are fewer", "Raise limits.run_hours to at least 0.05833"),
        ),
        (
            {"budget": NO_FIT, "limits": {"run_hours": 0.06}, "training": {"warmup_steps": 20}},
            (
                "buys 216 steps",
                "22 steps do not hold training.warmup_steps=20 with a decay of 20 %",
                "(263 in all would; or shorten the warmup)",
                "Raise limits.run_hours to at least 0.07671",
            ),
        ),
    ],
)
def test_a_length_that_no_hour_buys_ends_the_study_before_the_cooldown_with_what_would_help(
    sections: dict[str, Any], parts: tuple[str, ...]
) -> None:
    lab = play(falls_for_ever(), measured=Measured(num_steps=1000, worker_seconds=1000), **sections)
    assert isinstance(lab.end, GiveUp)
    assert [phase.name for phase in lab.phases] == [SWEEP]
    for part in parts:
        assert part in lab.end.reason


def test_run_hours_without_a_measured_step_give_no_answer() -> None:
    lab = play(falls_for_ever(), budget=NO_FIT, limits={"run_hours": 2})
    assert isinstance(lab.end, GiveUp)
    assert "no step was measured" in lab.end.reason


def test_best_rate_is_named_after_a_cooldown_that_forks_the_longest_rung() -> None:
    lab = play(falls_for_ever(), budget=NO_FIT | {"production_steps": 20_000})
    cooled = lab.trials(COOLDOWN)
    assert len(cooled) == 3, "after two doublings only the three best go on"
    assert {(t.spec.max_train_steps, t.spec.schedule.decay_steps) for t in cooled} == {(4400, 400)}
    assert lab.decision("cooldown").numbers["learning_rate"] == 1e-3
    last = {t.params["learning_rate"]: lab.curves[t.trial][("train", "loss")][-1][1] for t in lab.trials(SWEEP)}
    assert min(last, key=lambda rate: last[rate]) == 3.16228e-4, "the sweep alone would have named another"
    assert not any(t.trial == lab.end.answer.best_trial for t in cooled)


def test_a_best_rate_on_the_edge_is_told() -> None:
    lab = play(falls_for_ever(optimum=1e-1), budget=NO_FIT | {"production_steps": 20_000})
    assert "on the edge of the grid" in lab.decision("cooldown").reason


def test_a_cooldown_without_a_feasible_trial_falls_back_on_the_sweep() -> None:
    def measure(spec: RunSpec, step: int) -> Losses | str:
        decay = spec.schedule.decay_steps
        return "non-finite" if decay == 400 and step > 4000 else falls_for_ever()(spec, step)

    lab = play(measure, budget=NO_FIT | {"production_steps": 20_000})
    assert "since no cooldown was feasible" in lab.decision("cooldown").reason
    assert isinstance(lab.end, Conclude)


@pytest.mark.parametrize("adjust", ["probe", "raw"])
def test_a_compute_bound_round_1_is_judged_and_reported_never_adjusted(adjust: str) -> None:
    lab = play(
        falls_for_ever(),
        budget=NO_FIT | {"production_steps": 20_000},
        round_1={"adjust": adjust, "decay_shares": [0.1, 0.2, 0.4]},
    )
    assert [phase.name for phase in lab.phases] == [SWEEP, COOLDOWN, "round_1", "round_2"]
    assert lab.study.phase("round_1").verdict in ("too short", "undecided (decay-confounded)")
    assert "never adjusted" in lab.decision("verdict", "round_1").reason


@pytest.mark.parametrize("stated", [True, False])
def test_compute_bound_before_any_step_trains_one_rung_and_cools_it_down(stated: bool) -> None:
    # 4000 steps of 16 examples are 64,000, under one epoch of 100,000.
    facts = FACTS if stated else replace(FACTS, num_train_examples=100_000)
    config = config_of(
        budget=NO_FIT | {"production_steps": 20_000}, workload_kind="compute_bound" if stated else "auto"
    )
    lab = Lab(config, falls_for_ever(), facts=facts).play()
    assert lab.kinds()[1] == "workload_kind"
    assert "rung" not in lab.kinds()
    assert {t.last_step for t in lab.trials(SWEEP)} == {500}
    assert len(lab.trials(COOLDOWN)) == 5
    assert {t.outcome for t in lab.trials(SWEEP)} == {Outcome("complete", "cooled down")}


def test_under_one_epoch_without_a_length_ends_before_training_with_both_remedies() -> None:
    lab = Lab(config_of(budget=NO_FIT), falls_for_ever(), facts=replace(FACTS, num_train_examples=100_000)).play()
    assert isinstance(lab.end, GiveUp)
    assert not lab.phases
    for part in ("under one epoch", "budget.production_steps", "run_hours"):
        assert part in lab.end.reason


def test_under_one_epoch_a_stated_threshold_is_still_looked_for() -> None:
    config = config_of(budget={"production_steps": 20_000})
    lab = Lab(config, bowl(), facts=replace(FACTS, num_train_examples=100_000)).play()
    assert kind(lab) == "not_compute_bound"


def test_a_saturated_sweep_says_that_its_gain_stayed_below_2_per_cent() -> None:
    lab = play(levels_off(2.0), budget=NO_FIT)
    phase, moved = lab.study.phase(SWEEP), Movement(before=0.315, level=0.314, chance=0.008)
    told = "a gain of 0.001, less than 2 % (0.0063; noise alone gives up to 0.008)"
    assert told in saturated(phase, phase.trials[0], moved).reason


@pytest.mark.parametrize(
    ("moved", "is_still"),
    [
        (Movement(before=1.0, level=0.985, chance=0.03), True),
        (Movement(before=1.0, level=0.975, chance=0.03), False),  # more than 2 %, though noise alone gives as much
        (Movement(before=1.0, level=0.985, chance=0.05), False),  # noise would hide twice the gain
    ],
)
def test_a_curve_is_still_only_where_a_gain_would_have_been_seen(moved: Movement, is_still: bool) -> None:
    assert moved.is_still is is_still


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.08])
def test_noise_does_not_pass_for_saturation_where_each_doubling_gains_a_tenth(noise: float) -> None:
    kinds = []
    for study in range(10):

        def gains(spec: RunSpec, step: int, study: int = study) -> Losses:
            jitter = random.Random(f"{study}/{spec.learning_rate}/{step}").gauss(0, noise)
            distance = abs(math.log10(spec.learning_rate / 1e-3))
            loss = 1.5 * (step / 500) ** -0.152 * (1 + 0.1 * distance)
            return loss * (1 + jitter), loss + 0.2

        budget = NO_FIT | {"max_steps": 8000, "production_steps": 16_000}
        lab = Lab(config_of(budget=budget, round_2=None), gains).play(until="round_1")
        kinds.append(kind(lab))
    assert kinds.count("compute_bound") >= 9


@pytest.mark.parametrize("noise", [0.02, 0.04])
def test_strong_noise_does_not_keep_a_level_from_being_found(noise: float) -> None:
    lab = play(levels_off(1.5, noise=1.5 * noise), budget=NO_FIT | {"max_steps": 32_000})
    assert kind(lab) == "saturated"
    assert 400 <= lab.decision("budget").numbers["max_train_steps"] <= 1500


# ---------------------------------------------------------------- nothing


@pytest.mark.parametrize("workload_kind", ["auto", "compute_bound", "saturated"])
def test_all_rates_infeasible_gives_no_answer_whatever_the_kind(workload_kind: str) -> None:
    budget = NO_FIT | ({} if workload_kind == "saturated" else {"production_steps": 9000})
    lab = play(
        lambda spec, step: (1.5, 1.5) if step < 100 else "non-finite", budget=budget, workload_kind=workload_kind
    )
    assert isinstance(lab.end, GiveUp)
    assert "5 of 5 trials are infeasible (non-finite)" in lab.end.reason
