"""The probe, the doubled rounds it calls for, and the decay tuned anew, on worlds with known answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, Losses, World, bowl, config_of, trained

from tuner.analysis.verdict import CONFOUNDED
from tuner.protocol.advance import next_move
from tuner.protocol.rounds import check_round
from tuner.protocol.runs import doubled, retuned_decays
from tuner.records import ClosePhase, Conclude, OpenPhase, RunSpec
from tuner.report.answer_caveats import better_probe

PROBE = {"num_trials": 6, "adjust": "probe"}
RETUNED = {**PROBE, "max_adjustments": 1, "decay_shares": [0.1, 0.2, 0.4]}


def play(world: World, **sections: Any) -> Lab:
    return Lab(config_of(**{"round_1": PROBE, **sections}), world).play(max_moves=80)


def names(lab: Lab) -> list[str]:
    return [phase.name for phase in lab.phases]


def flat(step: int) -> float:
    return 1.5


def still_improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def improves_until(end: int) -> Any:
    return lambda step: 2.0 - 0.5 * min(step, end) / end


def test_a_flat_plateau_with_a_gain_in_its_decay_is_adequate_however_late_its_best_steps() -> None:
    lab = play(trained(flat))
    verdict = lab.decision("verdict", "round_1")
    assert verdict.numbers["everyone"]["best_late"]["count"] == 6
    assert names(lab) == ["budget_sweep", "round_1", "round_1.probe", "round_2"]
    assert (lab.study.phase("round_1").verdict, lab.study.phase("round_1.probe").verdict) == ("adequate", "no gain")
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.verdict == "adequate"


def test_a_probed_point_that_beats_the_answer_is_told_with_what_makes_it_a_candidate() -> None:
    """The best point gets worse with twice the steps and others gain: on average nothing that chance could not give."""

    def measure(spec: RunSpec, step: int) -> Losses:
        if not spec.schedule.decay_steps:
            return bowl()(spec, step)
        decades = abs(math.log10(spec.learning_rate / 1e-3))
        is_long, progress = spec.max_train_steps > 600, 1 - step / spec.max_train_steps
        gains = -0.3 if decades < 0.1 else 0.35 if decades < 0.4 else 0.1
        return 1.0, 2.0 + decades + progress - (gains if is_long else 0.0) + (0.001 if spec.seed != 7 else 0.0)

    lab = play(measure, round_2={"budget_multiple": "auto", "num_trials": 1})
    assert lab.study.phase("round_1").verdict == "adequate"
    assert isinstance(lab.end, Conclude)
    study = replace(lab.study, answer=lab.end.answer)
    (caveat,) = better_probe(lab.config, study)
    best = min(lab.trials("round_1.probe"), key=lambda trial: trial.best_value or 9.0)
    assert caveat.startswith(
        f"round_1.probe, which only measures, reached loss {best.best_value:.4g} with learning_rate="
    )
    assert best.params != lab.end.answer.params
    remedy = "`tuner extend made-up round_2.budget_multiple=2 round_2.num_trials=2` makes it a candidate"
    assert caveat.endswith(remedy)
    # What it names does what it says, and then there is nothing to tell.
    longer = config_of(round_1=PROBE, round_2={"budget_multiple": 2, "num_trials": 2})
    lab.extend(longer, max_moves=90)
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.params == best.params
    assert lab.end.answer.max_train_steps == 1200
    assert not better_probe(longer, replace(lab.study, answer=lab.end.answer))


def test_a_loss_that_still_improves_is_too_short_and_doubles_as_often_as_allowed() -> None:
    lab = play(trained(still_improving))
    assert [(p.name, p.plan.max_train_steps, p.verdict) for p in lab.phases if p.plan.kind in ("round_1", "probe")] == [
        ("round_1", 600, "too short"),
        ("round_1.probe", 1200, "gain"),
        ("round_1.2", 1200, "too short"),
        ("round_1.2.probe", 2400, "gain"),
        ("round_1.3", 2400, "too short"),
        ("round_1.3.probe", 4800, "gain"),
    ]


def test_a_doubling_that_suffices_ends_with_an_adequate_budget() -> None:
    lab = play(trained(improves_until(1000)))
    verdicts = [(p.name, p.verdict) for p in lab.phases if p.plan.kind == "round_1"]
    assert verdicts == [("round_1", "too short"), ("round_1.2", "adequate")]


def test_a_round_stays_open_until_its_probe_has_closed() -> None:
    lab = play(trained(flat))
    moves = [(type(m), getattr(m, "phase", None) or getattr(getattr(m, "plan", None), "name", None)) for m in lab.moves]
    opened, probed = moves.index((OpenPhase, "round_1.probe")), moves.index((ClosePhase, "round_1.probe"))
    assert opened < probed < moves.index((ClosePhase, "round_1"))


def test_the_probe_runs_the_best_five_from_their_own_plateaus() -> None:
    lab = play(trained(still_improving))
    best = sorted(lab.trials("round_1"), key=lambda t: t.best_value or 9.0)[:5]
    assert [t.params for t in lab.trials("round_1.probe")] == [t.params for t in best]
    for short, long in zip(best, lab.trials("round_1.probe"), strict=True):
        assert long.spec == replace(short.spec, max_train_steps=1200, eval_every_steps=48, fork_steps=(1080,))
    assert lab.decision("probe_opened").numbers["from_trials"] == [t.trial for t in best]


@pytest.mark.parametrize("shares", [[], [0.1, 0.2, 0.4]])
def test_a_doubled_round_runs_exactly_what_its_probe_ran(shares: list[float]) -> None:
    lab = play(trained(still_improving), round_1={**PROBE, "decay_shares": shares})
    for probe, longer in (("round_1.probe", "round_1.2"), ("round_1.2.probe", "round_1.3")):
        specs = [trial.spec for trial in lab.trials(longer)]
        assert all(trial.spec in specs for trial in lab.trials(probe)), "nothing is trained twice"


def test_a_probe_that_says_no_gain_at_the_first_budget_opens_no_longer_round_1() -> None:
    lab = play(trained(flat))
    assert not [name for name in names(lab) if name.startswith("round_1.2")]
    assert "decay" not in lab.kinds()


def test_early_or_mixed_best_steps_need_no_probe() -> None:
    lab = play(trained(lambda step: 1.0 + abs(step - 300) / 1000, decay_gain=0.0))
    assert names(lab) == ["budget_sweep", "round_1", "round_2"]
    assert lab.study.phase("round_1").verdict == "adequate"


@pytest.mark.parametrize("adjust", ["raw", "none"])
def test_only_adjust_probe_probes(adjust: str) -> None:
    lab = play(trained(flat), round_1={**PROBE, "adjust": adjust})
    assert "probe_opened" not in lab.kinds()


def test_a_gain_within_the_noise_of_the_curves_is_no_gain() -> None:
    # 2 % better after twice the steps: worth having, were it not smaller than the noise.
    falls = improves_until(10**9)
    quiet = play(trained(lambda step: falls(step) - 0.06 * step / 1200), round_2=None)
    world = trained(lambda step: falls(step) - 0.06 * step / 1200, noise=0.05, decay_gain=0.6)
    noisy = [play(world, seed=seed, round_2=None) for seed in range(5)]
    assert quiet.study.phase("round_1.probe").verdict == "gain"
    assert [lab.study.phase("round_1.probe").verdict for lab in noisy].count("gain") <= 1
    numbers = noisy[0].decision("probe", "round_1.probe").numbers
    assert numbers["needed_gain"] < numbers["chance"]
    assert numbers["is_seed_deviation"] is False
    assert "chance: 90 % of the gains' own standard error" in noisy[0].decision("probe").reason


@pytest.mark.slow
def test_noise_changes_few_verdicts() -> None:
    # A decay that hides nothing: a gain of 0.25 is twelve noise deviations, none is none. One in ten of the flat
    # ones is wrong by design; tests/benchmarks/verdict_accuracy.py counts many.
    for progress, wrong, at_most in ((flat, "too short", 2), (still_improving, "adequate", 0)):
        labs = [play(trained(progress, noise=0.02, decay_gain=0.3), seed=s, round_2=None) for s in range(12)]
        verdicts = [lab.study.phase("round_1").verdict for lab in labs]
        assert verdicts.count(wrong) <= at_most, verdicts


def test_ties_at_the_end_ask_for_a_probe_where_one_may_follow() -> None:
    # The value is reached in the middle and kept to the end: best steps are early among equals, nothing is late.
    lab = play(trained(improves_until(300), decay_gain=0.0))
    assert lab.decision("verdict", "round_1").numbers["everyone"]["best_late"]["count"] == 0
    assert (lab.study.phase("round_1.probe").verdict, lab.study.phase("round_1").verdict) == ("no gain", "adequate")
    check = check_round(lab.config, lab.study, phase=lab.study.phase("round_1"))
    later = replace(lab.study.phase("round_1"), plan=replace(lab.study.phase("round_1").plan, kind="round_2"))
    assert check.verdict == CONFOUNDED
    assert check_round(lab.config, lab.study, phase=later).verdict == "adequate"


def test_a_gain_below_min_gain_is_not_worth_twice_the_budget() -> None:
    slow = trained(lambda step: 1.5 - 0.01 * step / 600)
    assert play(slow).study.phase("round_1").verdict == "adequate"
    assert play(slow, round_1={**PROBE, "min_gain": 0.0}).study.phase("round_1").verdict == "too short"


def test_the_verdict_carries_the_gain_of_every_probed_trial_and_the_bars_it_was_held_against() -> None:
    reason = play(trained(flat)).decision("verdict", "round_1").reason
    for part in ("6 of 6", "round_1.probe: 1,200 steps", "5 trials", "+0", "round_1.min_gain=0.01", "24 steps"):
        assert part in reason
    assert "\n" not in reason


@pytest.mark.parametrize(("num_lost", "verdict"), [(1, "too short"), (4, "undecided (decay-confounded)")])
def test_probe_trials_that_are_lost_are_told_and_too_few_decide_nothing(num_lost: int, verdict: str) -> None:
    lost = [t.spec.learning_rate for t in play(trained(still_improving)).trials("round_1.probe")][:num_lost]
    world = trained(still_improving)

    def loses(spec: RunSpec, step: int) -> Any:
        return "crash" if spec.max_train_steps == 1200 and spec.learning_rate in lost else world(spec, step)

    lab = play(loses, round_1={**PROBE, "max_adjustments": 0})
    assert lab.study.phase("round_1").verdict == verdict
    assert isinstance(lab.end, Conclude)
    told = lab.decision("probe", "round_1.probe").reason
    assert ("1 infeasible or crashed" if num_lost == 1 else "1 of 5 probe trials are feasible") in told


def test_probes_are_no_candidates_for_the_answer() -> None:
    lab = play(trained(still_improving), round_1={**PROBE, "max_adjustments": 0}, round_2=None)
    assert isinstance(lab.end, Conclude)
    assert lab.end.answer.max_train_steps == 600
    assert lab.end.answer.verdict == "too short"
    assert min(t.best_value or 9.0 for t in lab.trials("round_1.probe")) < lab.end.answer.best_value


def test_the_verdict_of_a_closed_probe_binds_whatever_the_setting_says_later() -> None:
    lab = play(trained(flat))
    phases = tuple(replace(p, is_closed=False) if p.name == "round_1" else p for p in lab.phases if p.name != "round_2")
    move = next_move(config_of(round_1={**PROBE, "min_gain": 0.0}), lab.facts, replace(lab.study, phases=phases))
    assert isinstance(move, ClosePhase)
    assert (move.phase, move.verdict) == ("round_1", "adequate")


# ---------------------------------------------------------------- two metrics


def errs_best_early(spec: RunSpec, step: int) -> float:
    return 0.2 + abs(step - 0.5 * spec.max_train_steps) / 1e4 if spec.schedule.decay_steps else 0.5


def test_a_verdict_warns_when_loss_and_objective_are_best_in_different_bands() -> None:
    config = config_of(evaluation={"metric": "error", "direction": "minimize"}, round_1=PROBE)
    lab = Lab(config, bowl(), error=errs_best_early).play()
    verdict = lab.decision("verdict", "round_1")
    assert verdict.numbers["second_metric"]["objective_band"] == "the middle"
    assert verdict.numbers["second_metric"]["loss_band"] == "the last 25 %"
    assert "warning: the median trial is best in the middle by error and in the last 25 % by loss" in verdict.reason


def test_a_study_of_the_loss_compares_it_with_nothing() -> None:
    assert play(trained(flat)).decision("verdict", "round_1").numbers["second_metric"] is None


# ---------------------------------------------------------------- the decay, tuned anew


def best_decay(share: float) -> World:
    """Still improving; and a decay of `share` of the budget is worth most."""
    world = trained(still_improving)

    def measure(spec: RunSpec, step: int) -> Any:
        measured = world(spec, step)
        length = spec.schedule.decay_steps
        if isinstance(measured, str) or not length:
            return measured
        return measured[0], measured[1] + abs(length / spec.max_train_steps - share)

    return measure


@pytest.mark.parametrize(("share", "length"), [(0.1, 120), (0.2, 240), (0.4, 480)])
def test_the_best_decay_is_kept_for_round_2(share: float, length: int) -> None:
    lab = play(best_decay(share), round_1=RETUNED)
    assert names(lab)[-3:] == ["round_1.2.probe", "round_1.decay", "round_2"]
    assert lab.decision("decay").numbers["decay_steps"] == length
    assert lab.study.phase("round_1.decay").verdict == f"decay of {length} steps"
    assert {t.spec.schedule.decay_steps for t in lab.trials("round_2")} == {length}
    assert f"{length} steps of 1,200 steps" in lab.decision("decay").reason


def test_decays_part_from_trunks_that_measured_and_kept_what_they_share() -> None:
    lab = play(best_decay(0.4), round_1=RETUNED)
    trunks = {t.params["learning_rate"]: t.spec for t in lab.trials("round_1.2")}
    trials = lab.trials("round_1.decay")
    assert [t.params["decay_steps"] for t in trials] == [240, 480] * 3
    for trial in trials:
        trunk, start = trunks[trial.params["learning_rate"]], 1200 - trial.spec.schedule.decay_steps
        assert start + 1 in trunk.fork_steps, "the first update of a decay still runs at the peak: it is shared"
        assert {step for step in trial.spec.eval_steps() if step <= start} <= set(trunk.eval_steps())


@pytest.mark.parametrize("budget", range(601, 660, 7))
def test_decays_start_at_evaluations_whatever_the_budget(budget: int) -> None:
    config = config_of(round_1=RETUNED)
    spec = replace(play(trained(flat)).trials("round_1")[0].spec, max_train_steps=budget, eval_every_steps=budget // 25)
    longer = doubled(config, spec, max_train_steps=2 * budget)
    for length in retuned_decays(config, longer):
        assert (2 * budget - length) % longer.eval_every_steps == 0
        assert longer.schedule.warmup_steps < 2 * budget - length


def test_without_decay_shares_the_decay_is_left_alone() -> None:
    lab = play(best_decay(0.4), round_1={**RETUNED, "decay_shares": []})
    assert "decay_opened" not in lab.kinds()
    assert {t.spec.schedule.decay_steps for t in lab.trials("round_2")} == {120}


def test_a_decay_may_answer_a_study_without_round_2() -> None:
    lab = play(best_decay(0.4), round_1=RETUNED, round_2=None)
    assert isinstance(lab.end, Conclude)
    assert (lab.end.answer.max_train_steps, lab.end.answer.params["decay_steps"]) == (1200, 480)


def test_decays_that_all_crashed_leave_the_length_as_it_was() -> None:
    world = best_decay(0.4)

    def crashes(spec: RunSpec, step: int) -> Any:
        return "crash" if spec.schedule.decay_steps in (240, 480) else world(spec, step)

    lab = play(crashes, round_1=RETUNED)
    assert lab.decision("decay").numbers["decay_steps"] == 120
    assert "no point has all of them feasible" in lab.decision("decay").reason
