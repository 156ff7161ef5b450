"""Instability in the report: counted by kind, marked in every plot, proposals told, and norms nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from sample_studies import BILL, make_config, make_spec, quickstart_study

from tuner.records import UPDATES, Decision, Outcome, PhasePlan, PhaseRecord, StudyRecord, TrialRecord
from tuner.report.answer_caveats import answer_caveats
from tuner.report.build import build_report
from tuner.report.section import Section
from tuner.report.sections.all_sections import all_sections
from tuner.report.source import Source

PROPOSED = Decision(
    kind="instability",
    phase="round_1",
    reason="Unstable: 1 of 6 trials of round_1 are infeasible.",
    numbers={
        "num_infeasible": 1,
        "num_trials": 6,
        "is_next_to_best": True,
        "max_grad_norm": 0.8,
        "settings": ["training.warmup_steps=84", "training.max_grad_norm=0.8"],
    },
)


def sections_of(study: StudyRecord) -> dict[str, Section]:
    source = Source(study=study, config=make_config(), bill=BILL, command="tuner run x", decision_times=())
    return {section.title: section for section in all_sections(source)}


def with_norms(study: StudyRecord) -> StudyRecord:
    """The study with gradient norms beside every curve."""
    curves = {}
    for trial, own in study.curves.items():
        steps = [step for step, _ in own["train", "loss"]]
        rows = {(UPDATES, "grad_norm_p90"): tuple((step, 1 + step / 1e4) for step in steps)}
        rows |= {(UPDATES, metric): tuple((step, 0.25) for step in steps) for metric in ("grad_norm", "clipped_share")}
        curves[trial] = {**own, **rows}
    return replace(study, curves=curves)


def with_probe(study: StudyRecord, *, is_stable: bool) -> StudyRecord:
    spec = make_spec(50, 6.4e-3, every=1)
    outcome = Outcome("complete") if is_stable else Outcome("infeasible", "non-finite")
    trial = TrialRecord(
        trial=900,
        phase="instability_probe",
        number=0,
        params={"learning_rate": 6.4e-3},
        spec=spec,
        state="ended",
        outcome=outcome,
        last_step=40,
        num_evals=40,
        best_step=40,
        best_value=2.0,
    )
    steps = range(1, 41)
    losses = tuple((step, 4 - step / 20) for step in steps)
    curves = {("train", "loss"): losses, ("validation", "loss"): losses}
    curves[UPDATES, "grad_norm"] = tuple((step, 10.0 ** (step / 10)) for step in steps)
    plan = PhasePlan(
        name="instability_probe",
        kind="instability_probe",
        max_train_steps=50,
        eval=study.phase("round_1").plan.eval,
    )
    verdict = "stable" if is_stable else "unstable"
    phase = PhaseRecord(plan=plan, trials=(trial,), is_closed=True, verdict=verdict, reason="-")
    decision = Decision(
        kind="instability_probe", phase=plan.name, reason="Early probe: -", numbers={"verdict": verdict}
    )
    decision.numbers["kind"] = "non-finite"
    return replace(
        study,
        phases=(study.phases[0], phase, *study.phases[1:]),
        curves={**study.curves, 900: curves},
        decisions=(*study.decisions, decision),
    )


def markers(axes: Axes) -> list[object]:
    return [line.get_marker() for line in axes.get_lines()]


def test_kinds_are_counted_by_phase_and_the_claim_says_where_it_matters() -> None:
    study = with_norms(quickstart_study())
    section = sections_of(replace(study, decisions=(*study.decisions, PROPOSED)))["Instability"]
    total = len(study.trials())
    assert section.claim.startswith(
        f"1 of {total} trials were infeasible (1 diverged); in round_1 next to the best rate."
    )
    assert "training.warmup_steps=84, training.max_grad_norm=0.8" in section.claim
    assert PROPOSED.reason in section.evidence
    (table,) = section.tables
    assert table.rows[0] == ("budget_sweep", 5, 1, 0.2, 0, 1, 0)
    assert section.tone == "open"


def test_without_a_proposal_the_section_says_that_it_is_far_away() -> None:
    section = sections_of(quickstart_study())["Instability"]
    assert "none next to the best rate, and not many" in section.claim
    assert section.tone == "plain"


def test_a_study_without_any_has_no_such_section() -> None:
    study = quickstart_study()
    stable = tuple(t for t in study.phases[0].trials if t.outcome is not None and t.outcome.kind != "infeasible")
    study = replace(study, phases=(replace(study.phases[0], trials=stable), *study.phases[1:]))
    assert "Instability" not in sections_of(study)


def test_the_figure_shows_each_trial_by_its_kind_and_the_norms_with_both_thresholds() -> None:
    study = with_norms(quickstart_study())
    first = study.phase("round_1")
    kinds = ("diverged", "collapsed", "non-finite")
    bad = [replace(t, outcome=Outcome("infeasible", kind)) for t, kind in zip(first.trials[-3:], kinds, strict=True)]
    phases = tuple(replace(p, trials=(*p.trials[:-3], *bad)) if p.name == "round_1" else p for p in study.phases)
    section = sections_of(replace(study, phases=phases, decisions=(*study.decisions, PROPOSED)))["Instability"]
    upper, lower = section.drawings[0].figure.get_axes()
    found = markers(upper)
    assert [found.count(shape) for shape in ("+", "v", "x")] == [2, 1, 1]
    assert {text.get_text() for text in lower.texts} == {"clipped at 1", "proposed 0.8"}


def test_infeasible_trials_without_a_single_evaluation_are_marked_too() -> None:
    study = quickstart_study()
    sweep = study.phase("budget_sweep")
    dead = replace(
        sweep.trials[-1],
        outcome=Outcome("infeasible", "non-finite"),
        last_step=20,
        num_evals=0,
        best_step=None,
        best_value=None,
        last_value=None,
    )
    curves = {trial: own for trial, own in study.curves.items() if trial != dead.trial}
    study = replace(study, curves=curves, phases=(replace(sweep, trials=(*sweep.trials[:-1], dead)), *study.phases[1:]))
    figures = {d.name: d.figure for s in sections_of(study).values() for d in s.drawings}
    upper, _ = figures["sweep"].get_axes()
    crosses = [line for line in upper.get_lines() if line.get_marker() == "x"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in crosses] == [([2e-2], [20])]
    (axes,) = figures["curves-budget_sweep"].get_axes()
    (cross,) = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([20], [axes.get_ylim()[1]])


def test_best_steps_say_how_many_infeasible_trials_they_leave_out() -> None:
    study = quickstart_study()
    first = study.phase("round_1")
    bad = replace(first.trials[0], outcome=Outcome("infeasible", "collapsed"))
    phases = tuple(replace(p, trials=(bad, *p.trials[1:])) if p.name == "round_1" else p for p in study.phases)
    figures = {d.name: d.figure for s in sections_of(replace(study, phases=phases)).values() for d in s.drawings}
    told = [text.get_text() for legend in figures["best-steps-round_1"].legends for text in legend.get_texts()]
    assert "1 infeasible, not drawn" in told


def test_norms_change_no_other_section_and_no_other_figure() -> None:
    without, with_ = sections_of(quickstart_study()), sections_of(with_norms(quickstart_study()))
    assert without.keys() == with_.keys()
    for title in without.keys() - {"Instability"}:
        first, second = without[title], with_[title]
        assert (first.claim, first.evidence, first.tables) == (second.claim, second.evidence, second.tables)
        for a, b in zip(first.drawings, second.drawings, strict=True):
            counts = [[len(axes.get_lines()) for axes in drawing.figure.get_axes()] for drawing in (a, b)]
            assert counts[0] == counts[1], a.name


def test_an_answer_found_next_to_instability_carries_the_caveat() -> None:
    study = quickstart_study()
    before = answer_caveats(make_config(), study)
    after = answer_caveats(make_config(), replace(study, decisions=(*study.decisions, PROPOSED)))
    (told,) = [caveat for caveat in after if caveat not in before]
    assert "training was unstable next to the best rate (1 of 6 trials of round_1 infeasible)" in told
    assert "try training.warmup_steps=84 or training.max_grad_norm=0.8, as a study of another name" in told
    unstable = answer_caveats(make_config(), with_probe(study, is_stable=False))
    assert "early training at twice the best rate was unstable (non-finite)" in unstable
    assert answer_caveats(make_config(), with_probe(study, is_stable=True)) == before


@pytest.mark.slow
def test_a_probe_is_drawn_step_by_step_and_told(tmp_path: Path) -> None:
    study = with_probe(quickstart_study(), is_stable=False)
    section = sections_of(study)["Instability"]
    assert section.claim.endswith("The early probe at twice the best rate: unstable.")
    probe = next(drawing for drawing in section.drawings if drawing.name == "instability-probe")
    losses, norms = probe.figure.get_axes()
    assert len(losses.get_lines()[0].get_xdata()) == 40
    assert norms.get_yscale() == "log"
    assert "x" in markers(losses)
    build_report(study, make_config(), bill=BILL, out=tmp_path)
    assert (tmp_path / "figures" / "instability-probe.png").stat().st_size > 8_000
    assert "mathdefault" not in (tmp_path / "report.html").read_text()
