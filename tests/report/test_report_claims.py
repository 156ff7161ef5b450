"""What the sections say follows from the records: edges, seeds, order changes, overfitting."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from sample_studies import BILL, make_config, make_phase, make_sweep, quickstart_study, unfinished_study

from tuner.analysis.transfer import point_key
from tuner.config.schema import StudyConfig
from tuner.protocol.kinds import kind_decision
from tuner.records import VALIDATION, Outcome, StudyRecord
from tuner.report.answer_caveats import answer_caveats
from tuner.report.payloads import answer_payload, as_text, trial_payload
from tuner.report.search_edges import edge_of
from tuner.report.section import Section
from tuner.report.sections.all_sections import all_sections
from tuner.report.so_far import answer_so_far
from tuner.report.source import Source
from tuner.report.wording import Lengths, params_text


def sections_of(study: StudyRecord) -> dict[str, Section]:
    source = Source(study=study, config=make_config(), bill=BILL, command="tuner run x", decision_times=())
    return {section.title: section for section in all_sections(source)}


def questions(study: StudyRecord) -> dict[str, str]:
    (table,) = sections_of(study)["Before you believe it"].tables
    return dict(table.rows)


@pytest.mark.parametrize(
    ("name", "value", "edge"),
    [
        ("learning_rate", 2.05e-4, "lower"),
        ("learning_rate", 1e-3, None),
        ("learning_rate", 1.19e-2, "upper"),
        ("dropout", 0.0, "lower"),
        ("dropout", 0.29, "upper"),
        ("beta1", 0.989, "upper"),
        ("beta1", 0.9, None),
        ("beta1", 0.8, "lower"),
    ],
)
def test_edges_are_measured_in_the_scale_that_was_searched(name: str, value: float, edge: str | None) -> None:
    config = make_config(searched=("learning_rate", "dropout", "beta1"))
    assert edge_of(config.given_space, name, params={name: value}) == edge


def test_questions_are_answered_with_numbers() -> None:
    told = questions(quickstart_study())
    assert told["How many trials were infeasible?"].startswith("budget_sweep 1 of 5 (diverged); round_1 0 of 6;")
    assert told["Is the best point at an edge of the search?"].startswith("No")
    assert "pooled over 2 points" in told["How much of the differences is seed?"]


def test_overfitting_best_trial_is_told() -> None:
    study = quickstart_study()
    assert study.answer is not None
    best = study.answer.best_trial
    rising = tuple((step, 2.0 + abs(step - 800) * 1e-3) for step in range(100, 1700, 100))
    falling = tuple((step, 3.0 - step * 1e-3) for step, _ in rising)
    curves = dict(study.curves) | {best: {("validation", "loss"): rising, ("train", "loss"): falling}}
    phases = tuple(
        replace(
            phase,
            trials=tuple(
                replace(t, best_step=800, best_value=2.0, last_value=rising[-1][1]) if t.trial == best else t
                for t in phase.trials
            ),
        )
        for phase in study.phases
    )
    told = questions(replace(study, curves=curves, phases=phases))
    assert "try regularisation" in told["Does the best trial overfit?"]
    assert told["Was the best trial still improving at its end?"].startswith("It got worse")


def test_seeds_that_were_never_replicated_are_called_unknown() -> None:
    assert questions(unfinished_study())["How much of the differences is seed?"].startswith("Unknown")


def test_sweep_on_the_edge_says_so() -> None:
    made = make_sweep(rates=(3.2e-3, 8e-3, 2e-2))
    phase = make_phase("budget_sweep", "budget_sweep", 2000, made, verdict=None, reason=None)
    trials = tuple(replace(trial, trial=trial.number + 1) for trial in phase.trials)
    curves = {m.trial.number + 1: m.curves for m in made}
    study = StudyRecord(name="x", state="running", phases=(replace(phase, trials=trials),), curves=curves)
    assert "it lies on the lower edge of the grid" in sections_of(study)["Budget sweep"].claim


def test_rounds_are_compared_in_order_and_in_seed_deviations() -> None:
    section = sections_of(quickstart_study())["round_1.2 against round_2: does it still hold?"]
    assert "2 shared points" in section.claim
    assert any("seed deviations" in line for line in section.evidence)
    (table,) = section.tables
    assert [row[6] for row in table.rows] == [1, 2]


def at_budget_of_round_1(study: StudyRecord, *, new_seed: bool) -> StudyRecord:
    """The study with a second round as long as the one before, with a new seed beside the first or without one."""
    *others, before, later = study.phases
    first = {point_key(trial.params): trial for trial in before.trials}
    trials = tuple(
        replace(trial, best_value=first[point_key(trial.params)].best_value) if trial.spec.seed == 0 else trial
        for trial in later.trials
        if new_seed or trial.spec.seed == 0
    )
    plan = replace(later.plan, max_train_steps=before.plan.max_train_steps)
    return replace(study, phases=(*others, before, replace(later, plan=plan, trials=trials)))


def test_a_round_of_the_same_length_is_held_against_the_one_before_by_further_seeds() -> None:
    """Those of the first seed are the same runs: they would always hold, by nothing measured."""
    study = at_budget_of_round_1(quickstart_study(), new_seed=True)
    section = sections_of(study)["round_1.2 against round_2: does it replicate?"]
    assert f"at {study.phases[-1].plan.max_train_steps:,} updates with further seeds" in section.claim
    (table,) = section.tables
    new = {trial.best_value for trial in study.phases[-1].trials if trial.spec.seed != 0}
    assert {row[2] for row in table.rows} == new
    assert [row[7] for row in table.rows] == [1, 1]
    assert "chosen by their first seed" in (section.caveat or "")
    titles = sections_of(at_budget_of_round_1(quickstart_study(), new_seed=False))
    assert not [title for title in titles if title.startswith("round_1.2 against round_2")]


def test_ranks_put_the_better_value_first_for_metrics_that_rise() -> None:
    study = quickstart_study()
    rising = tuple(
        replace(phase, plan=replace(phase.plan, eval=replace(phase.plan.eval, direction="maximize")))
        for phase in study.phases
    )
    section = sections_of(replace(study, phases=rising))["round_1.2 against round_2: does it still hold?"]
    (table,) = section.tables
    assert table.rows[0][2] > table.rows[1][2]


def test_best_so_far_is_what_the_answer_would_be() -> None:
    study = unfinished_study()
    found = answer_so_far(study)
    assert found is not None
    values = [trial.best_value for trial in study.phase("round_1").trials if trial.is_feasible]
    assert found.best_value == min(values)
    assert answer_so_far(replace(study, phases=study.phases[:1])) is None


def test_payload_refuses_values_that_json_has_no_word_for() -> None:
    study = quickstart_study()
    assert study.answer is not None
    broken = replace(study, answer=replace(study.answer, best_value=float("nan")))
    with pytest.raises(ValueError, match="Out of range"):
        as_text(answer_payload(broken, None, why=[]))


def test_trial_payload_tells_forks_and_trials_that_have_no_outcome() -> None:
    study = quickstart_study()
    forked = study.phase("round_1.2").trials[0]
    assert trial_payload(forked)["forked_from"] == {"trial": 6, "step": 680}
    waiting = trial_payload(unfinished_study().phase("round_1").trials[-1])
    assert (waiting["outcome"], waiting["reason"], waiting["best_step"]) == (None, None, None)
    ended = trial_payload(replace(forked, outcome=Outcome("infeasible", "non-finite")))
    assert (ended["outcome"], ended["reason"]) == ("infeasible", "non-finite")


def test_lengths_are_told_in_epochs_once_the_data_is_known() -> None:
    study = quickstart_study()
    assert Lengths.of(study).text(1000) == "1,000 updates (32 epochs)"
    assert Lengths.of(replace(study, decisions=())).text(1000) == "1,000 updates"


def test_point_without_hyperparameters_is_named() -> None:
    assert params_text({}) == "the fixed settings"
    assert params_text({"learning_rate": 0.00123456, "seed": 3}) == "learning_rate=0.001235, seed=3"


def test_infeasible_trials_are_counted_among_all_trials_of_their_phase() -> None:
    assert "round_1 0 of 6" in questions(unfinished_study())["How many trials were infeasible?"]


def test_sweep_tells_how_much_the_budget_owes_to_the_threshold() -> None:
    study = quickstart_study()
    nearby = [
        {"at_most": 1.08, "steps_to_fit": None, "learning_rate": None},
        {"at_most": 1.32, "steps_to_fit": 640, "learning_rate": 0.0032},
    ]
    told = tuple(
        replace(d, numbers={**d.numbers, "nearby_thresholds": nearby}) if d.kind == "budget" else d
        for d in study.decisions
    )
    evidence = sections_of(replace(study, decisions=told))["Budget sweep"].evidence
    assert evidence[-1] == (
        "Steps to fit at the threshold ± 10 %: ≤ 1.08: not reached so far; "
        "≤ 1.32: 640 updates (20.5 epochs), by learning rate 0.0032"
    )


def test_sections_follow_the_study() -> None:
    titles = list(sections_of(quickstart_study()))
    assert titles[:4] == ["The answer", "Before you believe it", "Budget sweep", "Step budget of round_1"]
    names = [drawing.name for drawing in sections_of(quickstart_study())["Curves of all trials"].drawings]
    assert names == ["curves-budget_sweep", "curves-round_1", "curves-round_1.2", "curves-round_2"]


def test_short_study_is_billed_in_seconds() -> None:
    source = Source(
        study=quickstart_study(),
        config=make_config(),
        bill={**BILL, "seconds": {"train": 12.0}},
        command="",
        decision_times=(),
    )
    (bill,) = [section for section in all_sections(source) if section.title == "The bill"]
    assert "in 12.0 worker seconds" in bill.claim


def test_a_budget_that_may_not_grow_any_more_says_what_lets_it() -> None:
    study = quickstart_study()
    *others, last, later = study.phases
    assert last.name == "round_1.2"
    short = replace(study, phases=(*others, replace(last, verdict="too short"), later))

    def allowing(max_adjustments: int) -> StudyConfig:
        round_1 = make_config().round_1.model_copy(update={"max_adjustments": max_adjustments})
        return make_config().model_copy(update={"round_1": round_1})

    def told(study: StudyRecord, *, max_adjustments: int) -> list[str]:
        config = allowing(max_adjustments)
        return [caveat for caveat in answer_caveats(config, study) if "still too short" in caveat]

    (caveat,) = told(short, max_adjustments=1)
    assert caveat == (
        f"round_1.2 was still too short at {last.plan.max_train_steps:,} updates, and 1 doubling was allowed: longer "
        "training is likely to gain; `tuner extend quickstart round_1.max_adjustments=2` goes on from there"
    )
    source = Source(study=short, config=allowing(1), bill=BILL, command="tuner run x", decision_times=())
    assert caveat in all_sections(source)[0].evidence
    assert not told(short, max_adjustments=2), "something else ended it: hours, which have a reason of their own"
    assert not told(replace(short, answer=None), max_adjustments=1)
    assert not told(study, max_adjustments=1), f"it was {last.verdict}"
    bound = kind_decision("compute_bound", "as stated", {})
    assert not told(replace(short, decisions=(bound,)), max_adjustments=1), "no doubling is tried there"


def answered_by_round_2() -> StudyRecord:
    study = quickstart_study()
    assert study.answer is not None
    best = min(study.phase("round_2").trials, key=lambda trial: trial.best_value or 9.0)
    return replace(study, answer=replace(study.answer, best_trial=best.trial))


def test_the_density_of_the_search_is_that_of_round_1_though_a_later_round_has_the_best_trial() -> None:
    told = questions(answered_by_round_2())["Are there enough points in the good region?"]
    assert "of 6 points of round_1.2 lie within two seed deviations" in told


def test_late_noise_and_early_rest_of_the_best_trials_are_told() -> None:
    study = answered_by_round_2()
    told = questions(study)
    assert told["Do the best trials vary late in training?"].startswith(("No: ", "Yes: "))
    assert "of 2 were as good as they get" in told["Do the best trials saturate early?"]
    later = study.phases[-1]

    def with_late(jitter: float, first_good: float) -> dict[str, str]:
        trials = tuple(replace(t, first_good_step=round(first_good * t.last_step)) for t in later.trials)
        curves = dict(study.curves)
        for trial in trials:
            steps = range(trial.last_step // 25, trial.last_step + 1, trial.last_step // 25)
            values = tuple(
                (step, (trial.best_value or 1.0) * (1 + random.Random(step).gauss(0, jitter))) for step in steps
            )
            curves[trial.trial] = {**curves[trial.trial], (VALIDATION, "loss"): values}
        return questions(replace(study, phases=(*study.phases[:-1], replace(later, trials=trials)), curves=curves))

    calm, loud = with_late(0.0001, 0.9), with_late(0.05, 0.3)
    assert calm["Do the best trials vary late in training?"].startswith("No: ")
    assert loud["Do the best trials vary late in training?"].startswith("Yes: ")
    assert calm["Do the best trials saturate early?"].startswith("No: 0 of 2")
    assert loud["Do the best trials saturate early?"].startswith("Yes: 2 of 2")


def test_values_on_a_sample_of_the_validation_set_are_told_as_such() -> None:
    study = answered_by_round_2()
    question = "Was it chosen on all validation examples?"
    assert questions(study)[question] == "Yes."

    def capped(most: int) -> str:
        phases = tuple(
            replace(each, plan=replace(each.plan, eval=replace(each.plan.eval, max_validation_examples=most)))
            for each in study.phases
        )
        return questions(replace(study, phases=phases))[question]

    assert capped(100).startswith("No: on 100 of 250, the same in every trial")
    assert capped(250) == "Yes."
