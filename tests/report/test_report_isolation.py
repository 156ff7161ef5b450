"""The section on the study's question: its claim, table and caveat; the figure shows every trial of every value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sample_studies import Made, assemble, make_config, make_phase, make_round, make_sweep, quickstart_study

from tuner.config.schema import StudyConfig
from tuner.records import Decision, StudyRecord, Value
from tuner.report.figures.isolation import IsolationPanel, IsolationPoint, draw_isolation
from tuner.report.section import Section
from tuner.report.sections.caveats import caveats_section
from tuner.report.sections.isolation import isolation_sections
from tuner.report.source import Source

SPACE: dict[str, Any] = {
    "optimizer": {"choices": ["adamw", "sgd"], "role": "scientific"},
    "learning_rate": [
        {"low": 1e-3, "high": 8e-3, "scale": "log", "when": {"optimizer": "adamw"}},
        {"low": 3e-3, "high": 1.0, "scale": "log", "when": {"optimizer": "sgd"}},
    ],
    "dropout": {"low": 0.0, "high": 0.3},
}
POINTS: list[dict[str, Value]] = [
    {"optimizer": "adamw", "learning_rate": 3.2e-3, "dropout": 0.1},
    {"optimizer": "sgd", "learning_rate": 3.2e-3, "dropout": 0.3},
    {"optimizer": "adamw", "learning_rate": 5e-3, "dropout": 0.2},
    {"optimizer": "sgd", "learning_rate": 0.5, "dropout": 0.1},
]
OPENED = Decision(kind="sweep_opened", reason="", phase="budget_sweep", numbers={"scientific": {"optimizer": "adamw"}})


def asking(space: dict[str, Any] = SPACE) -> StudyConfig:
    data = make_config().model_dump(mode="json", by_alias=True)
    return StudyConfig.model_validate({**data, "search_space": space})


def study_of(*, seeds: tuple[int, ...] = (0, 77), points: int = 4) -> StudyRecord:
    """A sweep, round 1 with two points per optimizer (one diverges), and round 2 with the best of each."""
    sweep, first = make_sweep(), make_round("round_1", POINTS[:points], 200, every=8, decay=40)
    second = make_round("round_2", POINTS[: min(2, points)], 400, every=16, decay=40, seeds=seeds)

    def closed(name: Any, made: list[Made], kind: Any) -> tuple[Any, list[Made]]:
        steps = made[0].trial.spec.max_train_steps
        return make_phase(name, kind, steps, made, verdict="adequate", reason="told"), made

    phases = [closed("budget_sweep", sweep, "budget_sweep"), closed("round_1", first, "round_1")]
    study = assemble("asking", [*phases, closed("round_2", second, "round_2")], state="running", decisions=(OPENED,))
    return study


def section(study: StudyRecord, config: StudyConfig | None = None) -> Section:
    source = Source(study=study, config=config or asking(), bill={}, command="", decision_times=())
    (found,) = isolation_sections(source)
    return found


def test_the_claim_names_the_best_value_and_how_far_it_is_ahead() -> None:
    found = section(study_of(seeds=(0, 5, 9, 77)))
    assert found.title == "The question: optimizer"
    assert found.claim.startswith("optimizer=adamw is best: loss ")
    assert "ahead of optimizer=sgd in round_2" in found.claim
    assert found.tone == "plain"


def test_one_seed_leaves_the_question_open() -> None:
    found = section(study_of(seeds=(0,)))
    assert found.claim.startswith("Undecided: optimizer=adamw leads")
    assert found.claim.endswith("but the seed deviation is unknown.")
    assert found.tone == "open"
    assert "Seed deviation: unknown, nothing was replicated" in found.evidence


def test_the_table_counts_trials_and_infeasible_ones_of_each_value_in_each_round() -> None:
    (table,) = section(study_of()).tables
    counts = [row[:5] for row in table.rows]
    assert counts == [
        ("round_1", "optimizer", "adamw", 2, 0),
        ("round_1", "optimizer", "sgd", 2, 1),
        ("round_2", "optimizer", "adamw", 2, 0),
        ("round_2", "optimizer", "sgd", 2, 0),
    ]
    assert [row[7] for row in table.rows] == [1, 1, 2, 2]


def test_the_caveat_says_what_the_comparison_is_conditional_on() -> None:
    caveat = section(study_of()).caveat or ""
    assert "the budget was derived under optimizer=adamw" in caveat
    assert "the best trial of optimizer=sgd is at the lower edge of its learning_rate" in caveat
    assert "weight_decay=0.01, max_grad_norm=1, precision=fp32, global_batch_size=16" in caveat


def test_a_study_that_asks_nothing_has_no_such_section_and_still_says_what_was_fixed() -> None:
    source = Source(study=quickstart_study(), config=make_config(), bill={}, command="", decision_times=())
    assert isolation_sections(source) == []
    (table,) = caveats_section(source).tables
    (fixed,) = (row[1] for row in table.rows if row[0].startswith("What was fixed"))
    assert fixed.startswith("optimizer=adamw, beta1=0.9, beta2=0.999")
    assert "momentum" not in fixed, "sgd's settings have no part in it"
    assert "dropout" not in fixed


def test_before_any_trial_of_round_1_has_ended_nothing_is_claimed() -> None:
    study = study_of()
    waiting = tuple(replace(trial, state="waiting", outcome=None) for trial in study.phase("round_1").trials)
    phases = (study.phase("budget_sweep"), replace(study.phase("round_1"), trials=waiting))
    source = Source(study=replace(study, phases=phases), config=asking(), bill={}, command="", decision_times=())
    assert isolation_sections(source) == []


def test_the_figure_shows_every_trial_and_rings_the_best_of_each_value() -> None:
    (drawing,) = section(study_of()).drawings
    (axes,) = drawing.figure.get_axes()
    markers = [line.get_marker() for line in axes.get_lines() if len(line.get_xdata()) == 1]
    rings = [line for line in axes.get_lines() if line.get_markersize() == 13]
    assert markers.count("x") == 1
    assert len(rings) == 2
    assert len(markers) - len(rings) == 8
    assert [label.get_text() for label in axes.get_xticklabels()] == ["adamw", "sgd"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_scientific_hyperparameter_has_a_panel(count: int) -> None:
    points = (IsolationPoint(x="a", value=1.0, phase="round_1", is_best=True),)
    names = [f"h{place}" for place in range(count)]
    panels = tuple(IsolationPanel(name=name, values=("a", "b"), best=(1.0, None), points=points) for name in names)
    figure = draw_isolation(panels, metric="loss", direction="minimize", phases=("round_1",))
    assert [axes.get_xlabel() for axes in figure.get_axes() if axes.get_visible()] == names
