"""What the protocol makes of an extension: only what is new is trained, and what was decided stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from synthetic import Lab, World, bowl, config_of, trained
from test_protocol_kinds import NO_FIT, falls_for_ever

from tuner.protocol.advance import next_move
from tuner.protocol.answer import conclude
from tuner.protocol.joined import joined
from tuner.protocol.runs import trial_seed
from tuner.records import AddTrials, Conclude, Decision, GiveUp, RunSpec, StudyRecord
from tuner.training.schedule import shared_prefix

ROUND = {"num_trials": 2, "num_seeds": 2, "budget_multiple": 2, "lower_rate_twin": False}
SEEDS = [7, trial_seed(7, 1), trial_seed(7, 2)]


def improving(step: int) -> float:
    return 1.0 + 600 / (600 + step)


def finished(**sections: Any) -> Lab:
    return Lab(config_of(**sections), trained(improving)).play()


def names(lab: Lab) -> list[str]:
    return [phase.name for phase in lab.phases]


def runs(study: StudyRecord) -> set[str]:
    """What was trained, whatever phase it was trained for."""
    return {str(replace(trial.spec, fork_steps=())) for trial in study.trials()}


def ended(lab: Lab) -> Conclude:
    assert isinstance(lab.end, Conclude)
    return lab.end


def test_a_round_more_is_the_same_as_if_it_had_been_asked_for_from_the_first() -> None:
    lab = finished(round_2=None, rounds=[ROUND])
    before = lab.phases.copy()
    both = config_of(round_2=None, rounds=[ROUND, {**ROUND, "num_trials": 1}])
    lab.extend(both)
    assert lab.phases[: len(before)] == before
    at_once = Lab(both, trained(improving)).play()
    assert names(lab) == names(at_once) == ["budget_sweep", "round_1", "round_2", "round_3"]
    assert [t.spec for t in lab.trials("round_3")] == [t.spec for t in at_once.trials("round_3")]
    assert ended(lab).answer == ended(at_once).answer


def test_a_further_seed_is_trained_alone_and_ranked_with_the_others() -> None:
    lab = finished(round_2=ROUND).extend(config_of(round_2={**ROUND, "num_seeds": 3}))
    assert names(lab)[-1] == "round_2.added"
    added = lab.trials("round_2.added")
    assert [t.spec.seed for t in added] == [SEEDS[2]] * 2
    assert [t.number for t in added] == [0, 1]
    at_once = finished(round_2={**ROUND, "num_seeds": 3})
    assert runs(lab.study) == runs(at_once.study)
    assert ended(lab).answer.params == ended(at_once).answer.params
    assert ended(lab).answer.best_value == ended(at_once).answer.best_value
    told = lab.decision("added", "round_2.added").reason
    assert "2 trials join round_2 at its 1,200 steps; 1 further seed" in told


def test_more_points_follow_on_the_same_sequence_and_the_better_ones_go_on() -> None:
    lab = finished(round_1={"num_trials": 3}).extend(config_of(round_1={"num_trials": 6}))
    at_once = finished(round_1={"num_trials": 6})
    points = [t.params for phase in ("round_1", "round_1.added") for t in lab.trials(phase)]
    assert points == [t.params for t in at_once.trials("round_1")]
    # Whoever would have gone on does; whoever went on stays.
    assert runs(at_once.study) <= runs(lab.study)
    assert ended(lab).answer.params == ended(at_once).answer.params
    verdict = next(d for d in reversed(lab.decisions) if d.kind == "verdict" and d.phase == "round_1.added")
    assert verdict.numbers["num_feasible"] == 6


def test_a_point_of_the_users_enters_at_the_budget_that_stands_and_goes_on_if_it_is_good() -> None:
    better = {"learning_rate": 1e-3}
    high = {"learning_rate": {"low": 2e-3, "high": 2e-2, "scale": "log"}}
    lab = finished(round_1={"num_trials": 3, "widen_at_edge": False}, search_space=high)
    lab.extend(lab.config, better)
    (added,) = lab.trials("round_1.added")
    assert added.params == better
    assert added.spec.max_train_steps == lab.trials("round_1")[0].spec.max_train_steps
    assert [t.params for t in lab.trials("round_2.added")] == [better, better]
    assert ended(lab).answer.params == better
    assert "given by the user (learning_rate=0.001)" in lab.decision("added", "round_1.added").reason
    before = lab.decision("extended").numbers["answer_before"]
    assert before["params"] != better


def test_a_point_that_is_no_good_goes_no_further() -> None:
    lab = finished(round_1={"num_trials": 3})
    trial = ended(lab).answer.best_trial
    lab.extend(lab.config, {"learning_rate": 1.1e-4})
    assert names(lab)[-1] == "round_1.added"
    assert ended(lab).answer.best_trial == trial


def test_a_point_enters_the_latest_of_the_doubled_rounds_as_if_it_had_been_there() -> None:
    late = {"adjust": "raw", "max_adjustments": 1}
    lab = finished(round_1={"num_trials": 5, **late})
    assert "round_1.2" in names(lab)
    first, point = lab.trials("round_1.2")[0], {"learning_rate": 1.5e-3}
    lab.extend(lab.config, point)
    (added,) = lab.trials("round_1.2.added")
    assert added.spec.schedule == first.spec.schedule
    assert added.spec.max_train_steps == first.spec.max_train_steps
    assert added.spec.fork_steps == first.spec.fork_steps


def test_a_larger_multiple_is_a_longer_round_that_goes_on_from_the_shorter() -> None:
    lab = finished(round_2=ROUND).extend(config_of(round_2={**ROUND, "budget_multiple": 4}))
    assert names(lab)[-2:] == ["round_2", "round_2.2"]
    at_once = finished(round_2={**ROUND, "budget_multiple": 4})
    assert [t.spec for t in lab.trials("round_2.2")] == [t.spec for t in at_once.trials("round_2")]
    assert ended(lab).answer.params == ended(at_once).answer.params


def test_a_sweep_that_ended_at_max_steps_goes_on_from_where_it_was() -> None:
    short = {"first_guess_steps": 500, "max_steps": 500}
    lab = Lab(config_of(budget=short), bowl()).play()
    assert isinstance(lab.end, GiveUp)
    lab.extend(config_of(budget={**short, "max_steps": 4000}))
    at_once = Lab(config_of(budget={**short, "max_steps": 4000}), bowl()).play()
    assert names(lab) == names(at_once)
    assert runs(lab.study) == runs(at_once.study)
    assert ended(lab).answer == ended(at_once).answer


def test_a_seed_that_does_better_leaves_the_frontier_of_its_point_as_it_is() -> None:
    usual = trained(improving)

    def lucky(spec: RunSpec, step: int) -> Any:
        values = usual(spec, step)
        return values if isinstance(values, str) else (values[0], values[1] - 0.01 * (spec.seed == SEEDS[2]))

    asked = {"frontier": {"num_budgets": 3, "half_rate": False}}
    lab = Lab(config_of(round_2=ROUND, **asked), lucky).play(max_moves=80)
    lab.extend(config_of(round_2={**ROUND, "num_seeds": 3}, **asked), max_moves=80)
    best = next(trial for trial in lab.study.trials() if trial.trial == ended(lab).answer.best_trial)
    assert best.spec.seed == SEEDS[2]
    assert names(lab)[-2:] == ["frontier", "round_2.added"]


@pytest.mark.parametrize(
    ("world", "before", "after", "remedy"),
    [
        (
            bowl(),
            {"budget": {"first_guess_steps": 500, "max_steps": 500}},
            {"budget": {"first_guess_steps": 500, "max_steps": 4000}},
            "budget.max_steps",
        ),
        (
            bowl(),
            {"budget": {"first_guess_steps": 500, "max_steps": 500}},
            {"budget": {"first_guess_steps": 500, "max_steps": 500, "production_steps": 20_000}},
            "budget.production_steps",
        ),
        (
            bowl(optimum=0.05),
            {"budget_sweep": {"max_widenings": 0}},
            {"budget_sweep": {"max_widenings": 3}},
            "budget_sweep.max_widenings",
        ),
        (
            falls_for_ever(),
            {"budget": NO_FIT},
            {"budget": {**NO_FIT, "production_steps": 20_000}},
            "budget.production_steps",
        ),
    ],
)
def test_a_study_without_an_answer_names_the_extension_that_finds_one(
    world: World, before: dict[str, Any], after: dict[str, Any], remedy: str
) -> None:
    lab = Lab(config_of(**before), world).play()
    assert isinstance(lab.end, GiveUp)
    command = lab.end.reason.partition("`tuner extend ")[2].partition("`")[0]
    assert f"{remedy}=..." in command.split()
    assert "{{" not in lab.end.reason
    lab.extend(config_of(**after))
    at_once = Lab(config_of(**after), world).play()
    assert ended(lab).answer == ended(at_once).answer


def test_the_same_extension_again_changes_nothing() -> None:
    more = config_of(round_2={**ROUND, "num_seeds": 3})
    lab = finished(round_2=ROUND).extend(more)
    phases = lab.phases.copy()
    lab.extend(more)
    assert lab.phases == phases


def test_an_answer_that_stays_keeps_its_test_scores() -> None:
    lab = Lab(config_of(), trained(improving), averaged=lambda spec, step, horizon: 0.5).play()
    found = ended(lab).answer
    assert found.averaged is not None
    scored = replace(found, test_value=1.5, averaged=replace(found.averaged, test_value=0.75))
    extended = Decision(kind="extended", reason="", numbers={"changes": [], "points": []})
    study = replace(lab.study, answer=scored, decisions=(*lab.study.decisions, *ended(lab).decisions, extended))
    assert conclude(study, sharing="exact").answer == scored


def test_a_study_that_was_never_extended_is_its_own_joined_view() -> None:
    study = finished().study
    assert joined(study) is study


@pytest.mark.parametrize("adjustments", [1, 2])
def test_one_more_doubling_of_round_1_moves_what_follows(adjustments: int) -> None:
    late = {"num_trials": 5, "adjust": "raw", "max_adjustments": adjustments - 1}
    lab = finished(round_1=late)
    before = lab.phases[-1].plan.max_train_steps
    lab.extend(config_of(round_1={**late, "max_adjustments": adjustments}))
    assert names(lab)[-2:] == [f"round_1.{adjustments + 1}", "round_2.2"]
    assert lab.phases[-1].plan.max_train_steps == 2 * before


def test_a_longer_production_length_is_what_the_last_round_gets() -> None:
    sections: dict[str, Any] = {"round_2": {**ROUND, "budget_multiple": "auto"}}
    length = NO_FIT | {"max_steps": 2000, "production_steps": 8000}
    lab = Lab(config_of(budget=length, **sections), falls_for_ever()).play()
    lab.extend(config_of(budget={**length, "production_steps": 16000}, **sections))
    assert [p.plan.max_train_steps for p in lab.phases if p.plan.kind == "round_2"] == [8000, 16000]
    assert names(lab)[-1] == "round_2.2"


def test_a_round_judged_without_a_probe_gets_one_and_a_new_verdict() -> None:
    late = {"num_trials": 6, "adjust": "none", "decay_shares": []}
    lab = finished(round_1=late)
    assert lab.study.phase("round_1").verdict == "undecided (decay-confounded)"
    lab.extend(config_of(round_1={**late, "adjust": "probe", "max_adjustments": 0}))
    assert names(lab)[3] == "round_1.probe"
    verdicts = [d.numbers["verdict"] for d in lab.decisions if d.kind == "verdict" and d.phase == "round_1"]
    assert verdicts[-1] == "too short"
    assert ended(lab).answer.verdict == "too short"
    # Nothing that was closed was opened again.
    assert lab.study.phase("round_1").verdict == "undecided (decay-confounded)"


def test_more_decays_join_those_that_were_tried_and_the_best_of_all_is_kept() -> None:
    late = {"num_trials": 5, "adjust": "raw", "max_adjustments": 1, "decay_shares": [0.4]}
    lab = finished(round_1=late)
    assert "round_1.decay" in names(lab)
    tried = {t.spec.schedule.decay_steps for t in lab.trials("round_1.decay")}
    lab.extend(config_of(round_1={**late, "decay_shares": [0.4, 0.2]}))
    added = {t.spec.schedule.decay_steps for t in lab.trials("round_1.decay.added")}
    assert added
    assert not added & tried
    means = [d for d in lab.decisions if d.kind == "decay"][-1].numbers["means"]
    assert {each["decay_steps"] for each in means} >= added | tried


def test_what_the_hours_broke_off_goes_on_when_they_are_more() -> None:
    def of(hours: float) -> Any:
        return config_of(limits={"study_hours": hours}, round_1={"num_trials": 6})

    def seconds(num_steps: int) -> float:
        return 1.0 if num_steps < 5000 else 4.0

    lab = Lab(of(2.5), trained(improving), seconds_per_step=seconds).play(max_moves=90)
    (broken,) = (t for t in lab.study.trials() if t.outcome and t.outcome.reason == "study_hours")
    assert broken.phase == "round_2"
    lab.extend(of(100.0))
    # The seeds and the point that were cut are there now, and the trial that was broken off trains to its end.
    added = lab.trials("round_2.added")
    assert broken.spec in [t.spec for t in added]
    assert len({(t.spec.learning_rate, t.spec.seed) for t in added}) == 4
    assert ended(lab).answer.best_trial in [t.trial for t in added]
    # What the sweep was cut to is decided.
    assert lab.kinds().count("budget") == 1


def test_an_extension_of_an_interrupted_study_joins_the_round_that_is_open() -> None:
    lab = Lab(config_of(round_1={"num_trials": 3}), trained(improving))
    lab.extend(config_of(round_1={"num_trials": 6}))
    assert runs(lab.study) == runs(finished(round_1={"num_trials": 6}).study)
    assert names(lab) == ["budget_sweep", "round_1", "round_2"]


def test_a_frontier_is_forked_from_an_answer_that_joined_a_round() -> None:
    high = {"learning_rate": {"low": 2e-3, "high": 2e-2, "scale": "log"}}
    asked = {"num_budgets": 3, "half_rate": False}
    sections: dict[str, Any] = {"round_1": {"num_trials": 3, "widen_at_edge": False}, "search_space": high}
    lab = finished(**sections, frontier=asked)
    lab.extend(lab.config, {"learning_rate": 1e-3})
    base = next(trial for trial in lab.study.trials() if trial.trial == ended(lab).answer.best_trial)
    assert base.phase == "round_2.added"
    # That of the former answer stands; the new one's trunk goes through the trials that joined.
    assert names(lab)[3:] == ["frontier", "round_1.added", "round_2.added", "frontier.2"]
    cooldowns = lab.trials("frontier.2")
    assert {trial.spec.learning_rate for trial in cooldowns} == {1e-3}
    assert replace(cooldowns[0].spec, fork_steps=()) == replace(base.spec, fork_steps=())
    kept = {
        step for phase in ("round_1.added", "round_2.added") for t in lab.trials(phase) for step in t.spec.fork_steps
    }
    parted = {shared_prefix(base.spec, trial.spec) for trial in cooldowns[1:]}
    assert parted <= kept, "the trunk keeps its state where each cooldown leaves it"
    assert lab.decision("frontier", "frontier.2").numbers["best"] == base.spec.max_train_steps
    phases = lab.phases.copy()
    assert lab.play().phases == phases, "it is measured once"


def test_what_joins_a_part_that_is_open_is_numbered_within_it() -> None:
    lab = finished(round_1={"num_trials": 3}).extend(config_of(round_1={"num_trials": 5}))
    point = Decision(kind="extended", reason="", numbers={"changes": [], "points": [{"learning_rate": 1.1e-3}]})
    phases = [replace(p, is_closed=p.plan.name != "round_1.added") for p in lab.phases if p.plan.kind != "round_2"]
    study = replace(lab.study, phases=tuple(phases), decisions=(*lab.decisions, point))
    move = next_move(lab.config, lab.facts, study)
    assert isinstance(move, AddTrials)
    assert (move.phase, [trial.number for trial in move.trials]) == ("round_1.added", [2])
