"""Which ideas survived: points by rounds, told once there is a second longer round."""

from __future__ import annotations

from dataclasses import replace

from sample_studies import BILL, make_config, quickstart_study

from tuner.records import StudyRecord
from tuner.report.section import Section
from tuner.report.sections.rounds import round_sections
from tuner.report.sections.survivors import survivor_sections
from tuner.report.source import Source


def with_round_3() -> StudyRecord:
    """The second best point of round 2 alone goes on, with a lower rate beside it that no round had before."""
    study = quickstart_study()
    base = study.phase("round_2")
    carried = [trial for trial in base.trials if trial.params == base.trials[-1].params]
    lower = replace(carried[0], params={**carried[0].params, "learning_rate": 1e-5}, best_value=0.1)
    trials = tuple(
        replace(trial, trial=100 + place, phase="round_3", number=place)
        for place, trial in enumerate((*carried, lower))
    )
    plan = replace(base.plan, name="round_3", max_train_steps=2 * base.plan.max_train_steps)
    curves = {**study.curves, **{100 + place: study.curves[t.trial] for place, t in enumerate((*carried, carried[0]))}}
    return replace(study, phases=(*study.phases, replace(base, plan=plan, trials=trials)), curves=curves)


def source_of(study: StudyRecord) -> Source:
    return Source(study=study, config=make_config(), bill=BILL, command="", decision_times=())


def survivors(study: StudyRecord) -> Section:
    (section,) = survivor_sections(source_of(study))
    return section


def test_one_longer_round_needs_no_table_of_survivors() -> None:
    assert survivor_sections(source_of(quickstart_study())) == []


def test_survivors_are_counted_from_round_to_round() -> None:
    section = survivors(with_round_3())
    assert section.claim == (
        "Points that went on: 2 of 6 to round_2, 1 of 2 to round_3; the best of round_1.2 was last seen in round_2."
    )


def test_points_that_came_furthest_stand_first_with_their_value_and_rank_in_each_round() -> None:
    (table,) = survivors(with_round_3()).tables
    assert table.columns[:3] == ("point", "round_1.2", "rank round_1.2")
    assert len(table.rows) == 7
    twin, carried = table.rows[:2]
    assert twin[1:] == (None, None, None, None, 0.1, 1)
    assert (carried[2], carried[4], carried[6]) == (2, 2, 2)
    assert all(value is not None for value in carried)
    assert [row[5] for row in table.rows[2:]] == [None] * 5


def test_each_pair_of_successive_rounds_is_compared() -> None:
    titles = [section.title for section in round_sections(source_of(with_round_3()))]
    assert [title.split(":")[0] for title in titles] == [
        "round_1 against round_1.2",
        "round_1.2 against round_2",
        "round_2 against round_3",
    ]
