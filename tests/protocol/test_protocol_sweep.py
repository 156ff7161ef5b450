"""The budget sweep on worlds whose fastest rate is planted."""

from __future__ import annotations

import math
from typing import Any

import pytest
from synthetic import FACTS, Lab, Losses, World, bowl, config_of

from tuner.errors import ConfigError
from tuner.protocol.advance import next_move
from tuner.records import GiveUp, Outcome, RunSpec, StudyRecord, WorkloadFacts

SWEEP = "budget_sweep"
DOMINATED = Outcome("stopped", "dominated")


def fits_at(table: dict[float, int | str], default: int = 10**9) -> World:
    """A world where each rate fits at a given step, or becomes infeasible or crashes at its first evaluation."""

    def measure(spec: RunSpec, step: int) -> Losses | str:
        fit = next((v for rate, v in table.items() if math.isclose(rate, spec.learning_rate, rel_tol=1e-4)), default)
        if isinstance(fit, str):
            return fit
        return (0.9, 1.5) if step >= fit else (2.0 - step / 1e5 - spec.learning_rate, 1.5 + abs(step - 400) / 1e4)

    return measure


def play(table: dict[float, int | str], **sections: Any) -> Lab:
    # Its losses hardly move before they fit: the kind is stated, so that they are not taken for saturated.
    return Lab(config_of(**{"workload_kind": "not_compute_bound"} | sections), fits_at(table)).play()


def test_budget_is_the_steps_of_the_fastest_rate() -> None:
    lab = Lab(config_of(), bowl(1e-3, steps_at_optimum=600)).play()
    budget = lab.decision("budget")
    assert budget.numbers["max_train_steps"] == 600
    assert budget.numbers["learning_rate"] == 1e-3
    assert lab.study.phase(SWEEP).verdict == "fits in 600 steps"
    assert lab.study.phase("round_1").plan.max_train_steps == 600


def test_all_rates_share_a_budget_that_doubles_until_one_fits() -> None:
    lab = play({1e-3: 700})
    rung = lab.decision("rung")
    assert (rung.numbers["from_steps"], rung.numbers["max_train_steps"]) == (500, 1000)
    assert len(rung.numbers["learning_rates"]) == 5


def test_after_two_doublings_only_the_three_best_rates_go_on() -> None:
    # The world's loss is lower at higher rates, so the two lowest are dropped.
    lab = play({3.16228e-3: 3000})
    rungs = [d.numbers for d in lab.decisions if d.kind == "rung"]
    assert [len(r["learning_rates"]) for r in rungs] == [5, 5, 3]
    outcomes = {t.params["learning_rate"]: (t.outcome, t.last_step) for t in lab.trials(SWEEP)}
    assert outcomes[1e-4] == (Outcome("stopped", "dropped"), 2000)
    assert outcomes[1e-2] == (DOMINATED, 3000)


def test_the_last_rung_ends_at_max_steps() -> None:
    lab = play({1e-3: 1100}, budget={"max_steps": 1200})
    assert [d.numbers["max_train_steps"] for d in lab.decisions if d.kind == "rung"] == [1000, 1200]
    assert lab.decision("budget").numbers["max_train_steps"] == 1100


@pytest.mark.parametrize(("rate", "edge", "added"), [(1e-2, "upper", 0.0316228), (1e-4, "lower", 3.16228e-05)])
def test_a_fastest_rate_on_the_edge_widens_the_grid_on_that_side(rate: float, edge: str, added: float) -> None:
    lab = play({rate: 300})
    widened = lab.decision("widened")
    assert widened.numbers["edge"] == edge
    new = lab.trials(SWEEP)[-1]
    assert (new.number, new.params) == (5, {"learning_rate": added})
    assert new.spec.max_train_steps == 300, "beyond s* it could not be the fastest"
    assert lab.decision("budget").numbers["learning_rate"] == rate


def test_a_faster_rate_found_beyond_the_edge_becomes_the_budget() -> None:
    lab = play({1e-2: 300, 0.0316228: 200})
    assert [d.numbers["learning_rate"] for d in lab.decisions if d.kind == "widened"] == [0.0316228, 0.1]
    assert lab.decision("budget").numbers["max_train_steps"] == 200
    assert {t.last_step for t in lab.trials(SWEEP)} == {200}


def test_a_rate_still_on_the_edge_after_all_widenings_gives_no_answer() -> None:
    lab = play({1e-2: 400, 0.0316228: 300, 0.1: 200, 0.316228: 100})
    assert isinstance(lab.end, GiveUp)
    assert lab.kinds().count("widened") == 3
    for part in ("budget_sweep.max_widenings=3", "upper edge", "0.3162", "budget_sweep.learning_rates.high"):
        assert part in lab.end.reason
    assert "\n" not in lab.end.reason


def test_without_widenings_the_edge_ends_the_study_at_once() -> None:
    lab = play({1e-4: 300}, budget_sweep={"learning_rates": {"low": 1e-4, "high": 1e-2}, "max_widenings": 0})
    assert isinstance(lab.end, GiveUp)
    assert "lower edge" in lab.end.reason
    assert "Lower budget_sweep.learning_rates.low" in lab.end.reason


def test_an_infeasible_neighbour_closes_the_grid() -> None:
    lab = play({1e-2: "non-finite", 3.16228e-3: 300})
    assert "widened" not in lab.kinds()
    assert lab.decision("budget").numbers["learning_rate"] == 0.00316228
    lab = play({1e-2: 300, 0.0316228: "non-finite"})
    assert lab.kinds().count("widened") == 1
    assert lab.decision("budget").numbers["learning_rate"] == 1e-2


def test_a_crashed_neighbour_proves_nothing() -> None:
    lab = play({1e-2: "crash", 3.16228e-3: 300})
    assert lab.decision("widened").numbers["learning_rate"] == 0.0316228


def test_a_tie_with_an_interior_rate_is_no_edge() -> None:
    lab = play({1e-2: 300, 1e-3: 300})
    assert "widened" not in lab.kinds()
    assert lab.decision("budget").numbers["max_train_steps"] == 300


def test_a_tie_goes_to_the_lower_training_metric_then_to_the_lower_number() -> None:
    def measure(spec: RunSpec, step: int) -> Losses:
        value = {1e-3: 0.9, 0.00316228: 0.8}.get(spec.learning_rate)
        return (value, 1.0) if value is not None and step >= 300 else (2.0, 1.0)

    assert Lab(config_of(), measure).play().decision("budget").numbers["learning_rate"] == 0.00316228
    assert play({1e-3: 300, 3.16228e-3: 300}).decision("budget").numbers["learning_rate"] == 1e-3


def test_dominated_rates_are_cut_at_the_fit() -> None:
    lab = play({1e-3: 420, 3.16228e-3: 480})
    for trial in lab.trials(SWEEP):
        assert trial.last_step == 420
        assert trial.outcome == (Outcome("complete", "fitted") if trial.params["learning_rate"] == 1e-3 else DOMINATED)
        assert max(step for step, _ in lab.study.curve(trial.trial, "train", "loss")) == 420


@pytest.mark.parametrize("order", range(8))
def test_a_crash_after_the_fit_would_not_have_happened(order: int) -> None:
    def measure(spec: RunSpec, step: int) -> Losses | str:
        if spec.learning_rate == 1e-3:
            return (0.9 if step >= 420 else 2.0), 1.5
        return "crash" if step > 420 else (2.0, 1.5)

    lab = Lab(config_of(), measure, order).play()
    assert {t.outcome for t in lab.trials(SWEEP)} == {Outcome("complete", "fitted"), DOMINATED}


def test_full_curves_are_kept_on_request_and_give_the_same_budget() -> None:
    table: dict[float, int | str] = {1e-3: 420, 3.16228e-3: 480}
    sweep = {"stop_when_dominated": False, "learning_rates": {"low": 1e-4, "high": 1e-2}}
    lab = play(table, budget_sweep=sweep)
    assert [trial.last_step for trial in lab.trials(SWEEP)] == [500, 500, 420, 480, 500]
    assert lab.decision("budget").numbers["max_train_steps"] == 420
    assert lab.trials(SWEEP)[3].outcome == Outcome("complete", "fitted")


def test_a_threshold_that_nothing_reaches_gives_no_answer_but_remedies() -> None:
    lab = play({})
    assert isinstance(lab.end, GiveUp)
    for part in ("budget.perfect_fit.at_most=1", "budget.max_steps=4000", "1.95", "0.01"):
        assert part in lab.end.reason
    assert "\n" not in lab.end.reason


def test_rate_that_only_rises_is_told_to_lower_the_rates_and_not_to_raise_the_threshold() -> None:
    lab = Lab(config_of(), lambda spec, step: (1.5 + step / 1e4, 1.5)).play()
    assert isinstance(lab.end, GiveUp)
    assert "lower budget_sweep.learning_rates (low=0.0001, high=0.01)" in lab.end.reason
    assert "Raise budget.perfect_fit" not in lab.end.reason
    assert lab.end.reason.endswith("under another name: it will still share what agrees")


def test_loss_that_is_finite_at_no_rate_points_at_the_data() -> None:
    lab = Lab(config_of(), lambda spec, step: "non-finite").play()
    assert isinstance(lab.end, GiveUp)
    for part in ("not finite at any of the 5 trials, whatever the learning rate", "the data", "loss_sum"):
        assert part in lab.end.reason
    assert "lower budget_sweep.learning_rates" not in lab.end.reason


def test_all_rates_infeasible_gives_no_answer_but_remedies() -> None:
    lab = Lab(config_of(), lambda spec, step: (1.5, 1.5) if step < 100 else "non-finite").play()
    assert isinstance(lab.end, GiveUp)
    for part in ("5 of 5 trials are infeasible (non-finite)", "budget_sweep.learning_rates", "training.warmup_steps"):
        assert part in lab.end.reason


def test_all_rates_crashed_names_the_reason_and_is_not_infeasible() -> None:
    lab = Lab(config_of(), lambda spec, step: "crash").play()
    assert isinstance(lab.end, GiveUp)
    assert "crashed (ran out of luck)" in lab.end.reason
    assert "infeasible" not in lab.end.reason


def test_the_sweep_trains_without_regularisation_and_says_what_was_off() -> None:
    lab = Lab(config_of(training={"weight_decay": 0.1}), bowl()).play()
    for trial in lab.trials(SWEEP):
        assert trial.spec.optimizer.weight_decay == 0
        assert trial.spec.workload_options == {"dropout": 0.0}
        assert trial.spec.schedule.kind == "constant"
    assert lab.decision("sweep_opened").numbers["switched_off"] == ["weight_decay", "dropout"]
    assert lab.trials("round_1")[0].spec.optimizer.weight_decay == 0.1


def test_warmup_and_cadence_stay_over_rungs() -> None:
    lab = play({1e-3: 3000})
    specs = {(t.spec.schedule.warmup_steps, t.spec.eval_every_steps) for t in lab.trials(SWEEP)}
    assert specs == {(25, 20)}


def test_steps_to_fit_are_also_told_at_nearby_thresholds() -> None:
    strict, loose = Lab(config_of(), bowl(1e-3)).play().decision("budget").numbers["nearby_thresholds"]
    assert strict == {"at_most": 0.9, "steps_to_fit": None, "learning_rate": None}, "the curve ends at s*"
    assert loose["steps_to_fit"] == 560


def test_the_first_decision_keeps_the_facts_of_the_data() -> None:
    lab = Lab(config_of(), bowl()).play()
    assert lab.decisions[0].kind == "facts"
    assert lab.decisions[0].numbers["num_train_examples"] == FACTS.num_train_examples


def test_a_search_space_that_nobody_knows_is_refused_before_training() -> None:
    config = config_of(search_space={"hiden_size": {"choices": [64, 128]}})
    with pytest.raises(ConfigError, match=r"search_space\.hiden_size"):
        next_move(
            config,
            WorkloadFacts(num_train_examples=1, num_validation_examples=1, num_test_examples=1, metrics=("loss",)),
            StudyRecord(name="x", state="running"),
        )


def test_a_warmup_longer_than_the_first_rung_is_refused_before_training() -> None:
    config = config_of(training={"warmup_steps": 501})
    with pytest.raises(ConfigError, match=r"training\.warmup_steps=501"):
        next_move(config, FACTS, StudyRecord(name="x", state="running"))
