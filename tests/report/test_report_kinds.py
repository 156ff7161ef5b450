"""Sweeps that no threshold ended, in the report: the level or the length in the claim, curves without a line."""

from __future__ import annotations

import pytest
from sample_studies import BILL, quickstart_study

from tuner.config.schema import StudyConfig
from tuner.protocol.kinds import kind_decision
from tuner.records import Decision, StudyRecord
from tuner.report.section import Section
from tuner.report.sections.sweep import sweep_sections
from tuner.report.source import Source


def section(config: StudyConfig, *decisions: Decision) -> Section:
    """The sweep's section of the sample study, had its sweep had no threshold."""
    from dataclasses import replace

    study = quickstart_study()
    sweep = study.phases[0]
    trials = tuple(replace(trial, outcome=None, state="paused") for trial in sweep.trials)
    plan = replace(sweep.plan, fit=None)
    sweep = replace(sweep, plan=plan, trials=trials, reason="Compute-bound: round 1 trains for 900 steps.")
    changed: StudyRecord = replace(study, phases=(sweep, *study.phases[1:]), decisions=decisions)
    source = Source(study=changed, config=config, bill=BILL, command="tuner run", decision_times=())
    found = sweep_sections(source)
    assert len(found) == 1
    return found[0]


@pytest.fixture
def config() -> StudyConfig:
    from sample_studies import make_config

    return make_config()


def test_a_saturated_sweep_claims_the_level_and_the_rate_that_came_to_it_first(config: StudyConfig) -> None:
    decided = kind_decision("saturated", "stopped moving", {"metric": "loss", "at_most": 1.5})
    found = section(config, decided)
    assert "was the first to reach train loss ≤ 1.5, within 2 % of the level where it saturates" in found.claim
    (figure,) = [drawing.figure for drawing in found.drawings]
    told = [text.get_text() for axes in figure.get_axes() for text in axes.texts]
    told += [text.get_text() for text in figure.legends[0].get_texts()]
    assert "saturates at 1.5" in told
    assert "first at the level" in told
    assert not [text for text in told if "fit" in text]


def test_a_compute_bound_sweep_claims_its_length(config: StudyConfig) -> None:
    decided = kind_decision("compute_bound", "as stated", {})
    found = section(config, decided)
    assert found.claim == "Compute-bound: round 1 trains for 900 steps."
    assert all(row[1] is None for row in found.tables[0].rows), "no steps to fit without a goal"


def test_a_sweep_without_a_goal_says_that_nothing_came_to_rest(config: StudyConfig) -> None:
    assert "has not come to rest" in section(config).claim
