"""Made-up studies with planted instability: what is named, what is proposed, and when nothing is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic import FACTS, Lab, World, bowl, config_of

from tuner.protocol.advance import next_move
from tuner.protocol.collapsed import mark_collapsed
from tuner.protocol.instability_probe import probe_eval_spec
from tuner.protocol.measured import Measured
from tuner.records import AddTrials, ClosePhase, Decision, EndTrials, GiveUp, Outcome, RunSpec

COLLAPSED = Outcome("infeasible", "collapsed")
KNOWN = replace(FACTS, constant_loss=3.0)
SEEDS = range(6)


def played(world: World, *, seed: int = 0, lab: dict[str, Any] | None = None, **sections: Any) -> Lab:
    return Lab(config_of(**sections), world, seed=seed, **(lab or {})).play()


def proposals(lab: Lab) -> dict[str | None, Decision]:
    return {decision.phase: decision for decision in lab.decisions if decision.kind == "instability"}


def explodes_in_rounds(above: float) -> World:
    """Rounds whose rates above are not finite; the sweep is spared."""
    usual, unstable = bowl(), bowl(explode_above=above)
    return lambda spec, step: (unstable if spec.schedule.decay_steps else usual)(spec, step)


# A rate that explodes, and where it lies


def test_an_unstable_neighbour_of_the_best_rate_is_proposed_against_after_sweep_and_round() -> None:
    lab = played(bowl(explode_above=2e-3))
    found = proposals(lab)
    assert list(found) == ["budget_sweep", "round_1"]
    sweep = found["budget_sweep"].numbers
    assert (sweep["best_rate"], sweep["unstable_rate"]) == (pytest.approx(1e-3), pytest.approx(10**-2.5, rel=1e-3))
    assert sweep["base_rate"] == pytest.approx(10 * sweep["unstable_rate"])
    assert sweep["by_kind"] == {"non-finite": 2}
    # The sweep fits at 600 after a warmup of 25: 1 % and 3 % of it were tried already.
    assert sweep["settings"] == ["training.warmup_steps=60"]
    assert sweep["warmups"][0]["max_train_steps"] == 660
    told = found["round_1"].reason
    assert "600 + 60 = 660 steps, raise the budget: more than 5 %" in told
    assert "tuner run STUDY.yaml study=made-up-stable training.warmup_steps=60" in told
    assert "playbook" in told


def test_far_away_and_rare_instability_is_proposed_nothing_against() -> None:
    lab = played(bowl(explode_above=5e-3))
    assert lab.trials("budget_sweep")[-1].outcome == Outcome("infeasible", "non-finite")
    assert proposals(lab) == {}


def test_frequent_instability_far_from_the_best_rate_is_proposed_against() -> None:
    # Best at 1e-4, everything from 1e-3 on explodes; in between rates are stable.
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2, "scale": "log"}}
    usual, low = bowl(), bowl(1.5e-4, explode_above=9e-4)
    lab = played(
        lambda spec, step: (low if spec.schedule.decay_steps else usual)(spec, step),
        search_space=space,
        round_1={"widen_at_edge": False},
    )
    numbers = proposals(lab)["round_1"].numbers
    assert (numbers["is_frequent"], numbers["is_next_to_best"]) == (True, False)
    assert numbers["num_infeasible"] == 3
    assert "a quarter or more" in proposals(lab)["round_1"].reason


def test_a_study_whose_rates_all_explode_ends_with_proposals() -> None:
    lab = played(bowl(explode_above=0.0))
    assert isinstance(lab.end, GiveUp)
    numbers = proposals(lab)["budget_sweep"].numbers
    assert numbers["best_rate"] is None
    assert numbers["unstable_rate"] == pytest.approx(1e-4)
    assert numbers["settings"] == ["training.warmup_steps=50"]


def test_a_loss_that_was_never_finite_is_no_matter_of_warmup() -> None:
    lab = played(lambda spec, step: "non-finite")
    assert isinstance(lab.end, GiveUp)
    assert proposals(lab) == {}


def test_proposals_depend_neither_on_order_nor_on_the_other_worker() -> None:
    def norms(spec: RunSpec, step: int) -> tuple[float, float]:
        return spec.learning_rate * step, 0.0  # what is overshot in parallel would show

    found = [played(bowl(explode_above=2e-3), seed=seed, lab={"norms": norms}).decisions for seed in SEEDS]
    assert all(decisions == found[0] for decisions in found)


def test_a_round_of_one_rate_that_often_explodes_is_told_at_that_rate() -> None:
    usual = bowl()

    def measure(spec: RunSpec, step: int) -> tuple[float, float] | str:
        is_bad = spec.schedule.decay_steps and float(spec.workload_options["dropout"] or 0) > 0.3 and step > 100
        return "non-finite" if is_bad else usual(spec, step)

    study = config_of()
    changes = {"search_space": {"dropout": {"low": 0.0, "high": 0.5}}, "training": {"learning_rate": 1e-3}}
    lab = Lab(study.model_validate({**study.model_dump(by_alias=True), **changes}), measure).play()
    assert "a quarter or more, from learning_rate 0.001 on" in proposals(lab)["round_1"].reason


def test_a_warmup_that_fills_a_tenth_already_asks_for_budget_first() -> None:
    lab = played(bowl(explode_above=2e-3), training={"warmup_steps": 70})
    numbers = proposals(lab)["round_1"].numbers
    assert numbers["warmups"] == []
    assert "raise the budget first, to 710 or more" in proposals(lab)["round_1"].reason


# Clipping, from what was logged


@pytest.mark.parametrize(
    ("norms", "clip", "setting"),
    [
        ((0.5, 0.1), 1.0, "training.max_grad_norm=0.5"),
        ((2.0, 0.3), 1.0, None),
        ((2.0, 0.6), 1.0, "search_space.learning_rate.high=0.001778"),
        ((7.654321, 0.0), None, "training.max_grad_norm=7.65"),
    ],
    ids=["looser than the norms", "tighter already", "clips most already", "no clipping so far"],
)
def test_clipping_is_proposed_from_the_norms_near_the_best_rate(
    norms: tuple[float, float], clip: float | None, setting: str | None
) -> None:
    lab = played(explodes_in_rounds(2e-3), lab={"norms": lambda spec, step: norms}, training={"max_grad_norm": clip})
    numbers = proposals(lab)["round_1"].numbers
    assert numbers["grad_norms"]["p90"] == norms[0]
    assert [s for s in numbers["settings"] if "warmup" not in s] == ([] if setting is None else [setting])
    assert (setting or "nothing more by clipping") in proposals(lab)["round_1"].reason


def test_norms_of_rates_far_from_the_best_do_not_count() -> None:
    def norms(spec: RunSpec, step: int) -> tuple[float, float]:
        return (0.5, 0.0) if 3e-4 < spec.learning_rate < 3.2e-3 else (100.0, 1.0)

    lab = played(explodes_in_rounds(2e-3), lab={"norms": norms})
    assert proposals(lab)["round_1"].numbers["max_grad_norm"] == 0.5


def test_without_logged_norms_no_threshold_is_made_up() -> None:
    numbers = proposals(played(explodes_in_rounds(2e-3)))["round_1"].numbers
    assert (numbers["max_grad_norm"], numbers["grad_norms"]) == (None, None)


# Collapsed: no better than a constant predictor, while a lower rate learned


def sticks(above: float, *, at: float = 3.0, below: float = 0.0) -> World:
    """Rates above (in the rounds) or below learn nothing: their loss stays where a constant predictor's is."""
    usual = bowl()

    def measure(spec: RunSpec, step: int) -> tuple[float, float] | str:
        if spec.schedule.decay_steps and (spec.learning_rate > above or spec.learning_rate < below):
            return at, 0.01  # validation would even make it the best
        return usual(spec, step)

    return measure


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_ends_no_better_than_a_constant_predictor_is_infeasible(seed: int) -> None:
    lab = played(sticks(above=2e-3), lab={"facts": KNOWN}, seed=seed)
    first = lab.trials("round_1")
    assert [t.outcome == COLLAPSED for t in first] == [t.spec.learning_rate > 2e-3 for t in first]
    assert sum(t.outcome == COLLAPSED for t in first) == 1
    moves = [move for move in lab.moves if isinstance(move, EndTrials)]
    assert [move.phase for move in moves] == ["round_1"]
    assert lab.decision("collapsed").numbers["constant_loss"] == 3.0
    # Not among those that are judged, and never the answer.
    assert lab.decision("verdict").numbers["num_feasible"] == 5
    assert lab.end.answer.best_value > 0.02
    assert lab.kinds().index("collapsed") < lab.kinds().index("verdict")


def test_nothing_is_named_while_a_trial_of_the_phase_is_still_to_end() -> None:
    study = played(sticks(above=2e-3)).study
    first = replace(study.phase("round_1"), is_closed=False)
    ended = replace(study, phases=(study.phases[0], first))
    assert mark_collapsed(KNOWN, ended) is not None
    unfinished = replace(first.trials[0], state="running", outcome=None)
    running = replace(ended, phases=(study.phases[0], replace(first, trials=(unfinished, *first.trials[1:]))))
    assert mark_collapsed(KNOWN, running) is None


def test_a_rate_too_low_to_learn_is_not_collapsed() -> None:
    lab = played(sticks(above=1.0, below=2e-4), lab={"facts": KNOWN})
    assert all(trial.outcome != COLLAPSED for trial in lab.study.trials())


def test_rates_of_different_optimizers_do_not_compare() -> None:
    # The highest rate learns nothing while lower ones do: collapsed, unless it is another optimizer's.
    study = played(sticks(above=2e-3)).study
    first = replace(study.phase("round_1"), is_closed=False)
    top = max(first.trials, key=lambda trial: trial.spec.learning_rate)
    sgd = replace(top, spec=replace(top.spec, optimizer=replace(top.spec.optimizer, name="sgd")))
    trials = tuple(sgd if trial.trial == top.trial else trial for trial in first.trials)
    assert mark_collapsed(KNOWN, replace(study, phases=(study.phases[0], first))) is not None
    assert mark_collapsed(KNOWN, replace(study, phases=(study.phases[0], replace(first, trials=trials)))) is None


def test_one_that_is_a_little_better_than_a_constant_predictor_is_not_collapsed() -> None:
    lab = played(sticks(above=2e-3, at=2.999), lab={"facts": KNOWN})
    assert all(trial.outcome != COLLAPSED for trial in lab.study.trials())


def test_nothing_collapses_where_no_constant_predictor_is_known() -> None:
    assert "collapsed" not in played(sticks(above=2e-3)).kinds()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("exact", [True, False])
def test_a_collapsed_rate_of_the_sweep_is_named_when_the_sweep_ends(seed: int, exact: bool) -> None:
    usual = bowl()
    lab = played(
        lambda spec, step: (3.1, 3.1) if spec.learning_rate > 5e-3 else usual(spec, step),
        lab={"facts": KNOWN},
        seed=seed,
        budget_sweep={"stop_when_dominated": exact},
    )
    assert [t.outcome for t in lab.trials("budget_sweep")].count(COLLAPSED) == 1
    assert lab.trials("budget_sweep")[-1].outcome == COLLAPSED
    assert lab.decision("collapsed").phase == "budget_sweep"
    assert lab.decision("budget").numbers["max_train_steps"] == 600


def test_collapsed_trials_count_as_instability() -> None:
    lab = played(sticks(above=2e-3), lab={"facts": KNOWN})
    assert proposals(lab)["round_1"].numbers["by_kind"] == {"collapsed": 1}


# The early probe


PROBED = {"probe_instability": True}


def early(unstable_below_warmup: int) -> World:
    """The usual study; at twice the best rate it blows up at step 40 unless the warmup is long enough."""
    usual = bowl()

    def measure(spec: RunSpec, step: int) -> tuple[float, float] | str:
        is_probe = spec.eval_every_steps == 1
        if is_probe and step >= 40 and spec.schedule.warmup_steps < unstable_below_warmup:
            return "non-finite"
        return usual(spec, step)

    return measure


def rounds_of(lab: Lab) -> list[tuple[Any, ...]]:
    return [
        (t.phase, t.number, t.params, t.spec, t.outcome, t.best_step, t.best_value)
        for t in lab.study.trials()
        if t.phase != "instability_probe"
    ]


def test_a_stable_probe_says_so_and_changes_nothing_else() -> None:
    lab, without = played(early(0), budget_sweep=PROBED), played(early(0))
    assert [phase.name for phase in lab.phases] == ["budget_sweep", "instability_probe", "round_1", "round_2"]
    (probe,) = lab.trials("instability_probe")
    assert (probe.spec.max_train_steps, probe.spec.eval_every_steps) == (500, 1)
    assert probe.spec.learning_rate == pytest.approx(2e-3)
    decision = lab.decision("instability_probe")
    assert (decision.numbers["verdict"], lab.study.phase("instability_probe").verdict) == ("stable", "stable")
    assert "stable for 500 steps" in decision.reason
    assert rounds_of(lab) == rounds_of(without)
    assert lab.end.answer.params == without.end.answer.params


@pytest.mark.parametrize("seed", SEEDS)
def test_an_unstable_probe_names_step_and_the_shortest_warmup_that_works(seed: int) -> None:
    lab = played(early(60), budget_sweep=PROBED, seed=seed, lab={"norms": lambda spec, step: (1.0, 0.0)})
    numbers = lab.decision("instability_probe").numbers
    assert (numbers["verdict"], numbers["kind"], numbers["at_step"]) == ("unstable", "non-finite", 40)
    # 6 and 18 are no longer than the warmup of 25 that failed.
    assert [(t["warmup_steps"], t["is_stable"]) for t in numbers["tried"]] == [(25, False), (60, True)]
    assert numbers["warmup"]["max_train_steps"] == 660
    assert "training.warmup_steps=60 (prepended: 600 + 60 = 660 steps, more than 5 %" in (
        lab.decision("instability_probe").reason
    )
    assert rounds_of(lab) == rounds_of(played(early(60)))


def test_a_stable_probe_that_learned_nothing_says_so() -> None:
    usual = bowl()
    flat = played(
        lambda spec, step: (3.1, 3.1) if spec.eval_every_steps == 1 else usual(spec, step),
        budget_sweep=PROBED,
        lab={"facts": KNOWN},
    )
    assert "but it learned nothing by then" in flat.decision("instability_probe").reason
    assert (
        "learned nothing"
        not in played(early(0), budget_sweep=PROBED, lab={"facts": KNOWN}).decision("instability_probe").reason
    )


def test_a_stable_probe_tells_where_its_loss_rose_most() -> None:
    usual = early(0)

    def spikes(spec: RunSpec, step: int) -> tuple[float, float] | str:
        measured = usual(spec, step)
        is_spike = spec.eval_every_steps == 1 and step == 120 and not isinstance(measured, str)
        return (measured[0] + 0.5, measured[1]) if is_spike else measured  # type: ignore[operator]

    decision = played(spikes, budget_sweep=PROBED).decision("instability_probe")
    assert decision.numbers["verdict"] == "stable"
    assert decision.numbers["largest_rise"][0] == 120
    assert "at step 120" in decision.reason


def test_warmups_are_tried_one_after_the_other_and_none_after_one_that_works() -> None:
    lab = played(early(10), budget_sweep=PROBED, training={"warmup_steps": 1})
    assert [t.spec.schedule.warmup_steps for t in lab.trials("instability_probe")] == [1, 6, 18]
    tries = [move for move in lab.moves if isinstance(move, AddTrials) and move.phase == "instability_probe"]
    assert [len(move.trials) for move in tries] == [1, 1]


def test_a_probe_that_no_warmup_helps_says_so() -> None:
    lab = played(early(1000), budget_sweep=PROBED)
    decision = lab.decision("instability_probe")
    assert decision.numbers["warmup"] is None
    assert "no warmup within 10 % of the budget of 600 steps works (60)" in decision.reason


def test_a_probe_whose_run_crashes_knows_nothing_and_the_study_goes_on() -> None:
    usual = bowl()
    lab = played(lambda s, step: "crash" if s.eval_every_steps == 1 else usual(s, step), budget_sweep=PROBED)
    assert lab.decision("instability_probe").numbers["verdict"] == "unknown"
    assert lab.phases[-1].name == "round_2"


def test_the_probe_is_at_twice_the_one_rate_of_the_rounds_where_that_is_stated() -> None:
    space = {"search_space": {"dropout": {"low": 0.0, "high": 0.5}}, "training": {"learning_rate": 4e-4}}
    study = config_of(budget_sweep=PROBED)
    config = study.model_validate({**study.model_dump(by_alias=True), **space})
    lab = Lab(config, early(0)).play()
    assert lab.trials("instability_probe")[0].spec.learning_rate == pytest.approx(8e-4)


def test_the_probe_evaluates_one_batch_of_each_sample_at_a_step() -> None:
    config = config_of(evaluation={"batch_size": 32, "train_sample": 500, "max_validation_examples": 16})
    spec = probe_eval_spec(config)
    assert (spec.num_train_examples, spec.max_validation_examples) == (32, 16)


@pytest.mark.parametrize(("hours", "is_skipped"), [(1.0, True), (2.0, False)])
def test_hours_that_do_not_hold_it_beside_round_1_skip_the_probe_and_say_so(hours: float, is_skipped: bool) -> None:
    config = config_of(budget_sweep=PROBED, limits={"study_hours": hours})
    lab = Lab(config, bowl(steps_at_optimum=350), seconds_per_step=lambda num_steps: 1.0).play()
    skipped = [d for d in lab.decisions if d.kind == "cut" and "instability_probe is skipped" in d.reason]
    assert len(skipped) == is_skipped
    assert [phase.name for phase in lab.phases][:2] == [
        "budget_sweep",
        "round_1" if is_skipped else "instability_probe",
    ]


@pytest.mark.parametrize(("elapsed_seconds", "is_cut"), [(0.0, False), (3000.0, True)])
def test_hours_that_do_not_hold_another_warmup_beside_round_1_end_the_probe(
    elapsed_seconds: float, is_cut: bool
) -> None:
    lab = played(early(1000), budget_sweep=PROBED)
    probe = lab.study.phase("instability_probe")
    opened = replace(probe, trials=probe.trials[:1], is_closed=False, verdict=None, reason=None)
    known = tuple(d for d in lab.study.decisions if d.phase == "budget_sweep")
    study = replace(lab.study, phases=(lab.study.phase("budget_sweep"), opened), decisions=known)
    config = config_of(budget_sweep=PROBED, limits={"study_hours": 1})
    spent = Measured(num_steps=1000, worker_seconds=200.0, training_seconds=200.0, elapsed_seconds=elapsed_seconds)
    move = next_move(config, lab.facts, study, measured=spent)
    assert isinstance(move, ClosePhase if is_cut else AddTrials)
    if is_cut:
        assert [d.kind for d in move.decisions] == ["cut", "instability_probe"]
        assert "no longer warmup is tried" in move.decisions[0].reason
        assert "no longer warmup is tried for want of hours" in move.reason
