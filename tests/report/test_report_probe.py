"""Phases that measure, but judge no budget, in the report: shown as curves and trials, in no histogram."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from sample_studies import BILL, make_config, quickstart_study

from tuner.protocol.decay import DECAY_STEPS
from tuner.records import PhaseKind, PhaseRecord, StudyRecord
from tuner.report.build import build_report
from tuner.report.distribution import best_steps
from tuner.report.sections.all_sections import all_sections
from tuner.report.so_far import answer_so_far
from tuner.report.source import Source


def with_phases_that_measure() -> StudyRecord:
    """The sample study with a probe better than every round, and decays of which one is the best answer."""
    study = quickstart_study()
    second = study.phase("round_1.2")
    curves, phases = dict(study.curves), list(study.phases)
    measuring = (("round_1.2.probe", "probe"), ("round_1.decay", "decay"), ("frontier", "frontier"))
    for place, (name, kind) in enumerate(measuring, start=1):
        trials = []
        for trial in [t for t in second.trials if t.is_feasible][:3]:
            params = trial.params | ({DECAY_STEPS: 99} if kind == "decay" else {})
            assert trial.best_value is not None
            better = trial.best_value - (1.0 if kind == "decay" else 2.0)
            new = replace(trial, trial=100 * place + trial.trial, phase=name, params=params, best_value=better)
            curves[new.trial] = study.curves[trial.trial]
            trials.append(new)
        plan = replace(second.plan, name=name, kind=kind)  # type: ignore[arg-type]
        phases.insert(-1, PhaseRecord(plan=plan, trials=tuple(trials), is_closed=True, verdict="gain", reason="-"))
    return replace(study, phases=tuple(phases), curves=curves, answer=None, state="running")


def source_of(study: StudyRecord) -> Source:
    return Source(study=study, config=make_config(), bill=BILL, command="tuner run", decision_times=())


def test_only_rounds_of_all_points_have_a_histogram() -> None:
    study = with_phases_that_measure()
    assert [found.phase for found in best_steps(make_config(), study)] == ["round_1", "round_1.2", "round_2"]
    assert {phase.plan.kind for phase in study.phases} == set(get_args(PhaseKind)) - {"cooldown", "instability_probe"}


def test_probes_and_decays_are_shown_as_curves_and_compared_with_no_round() -> None:
    titles = [section.title for section in all_sections(source_of(with_phases_that_measure()))]
    assert [title for title in titles if "does it still hold" in title] == [
        "round_1 against round_1.2: does it still hold?",
        "round_1.2 against round_2: does it still hold?",
    ]
    curves = next(s for s in all_sections(source_of(with_phases_that_measure())) if s.title == "Curves of all trials")
    assert {drawing.name for drawing in curves.drawings} >= {"curves-round_1.2.probe", "curves-round_1.decay"}


@pytest.mark.usefixtures("unrendered")
def test_the_best_so_far_is_no_probe_but_may_be_a_decay(tmp_path: Path) -> None:
    study = with_phases_that_measure()
    best = answer_so_far(study)
    assert best is not None
    assert next(t.phase for t in study.trials() if t.trial == best.best_trial) == "round_1.decay"
    files = build_report(study, make_config(), bill=BILL, out=tmp_path)
    assert "round_1.decay" in (tmp_path / "report.html").read_text()
    assert files
