"""Figures hold the data they claim to show, with one trial as with sixty."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from sample_studies import SPACE, make_config, no_answer_study, quickstart_study, unfinished_study

from tuner.records import StudyRecord
from tuner.report.canvas import png, spread
from tuner.report.distribution import NUM_BINS, best_steps, bin_of, histogram
from tuner.report.figures.axes import AxisPanel, AxisPoint, draw_axes
from tuner.report.figures.curves import CurveLine, CurvesPicture, draw_curves, focus_range, value_range
from tuner.report.figures.rounds import SharedPoint, draw_rounds
from tuner.report.sections.all_sections import all_sections
from tuner.report.source import Source


def source_of(study: StudyRecord, searched: tuple[str, ...] = ("learning_rate", "dropout")) -> Source:
    return Source(study=study, config=make_config(searched=searched), bill={}, command="", decision_times=())


def figures_of(study: StudyRecord, searched: tuple[str, ...] = ("learning_rate", "dropout")) -> dict[str, Figure]:
    sections = all_sections(source_of(study, searched))
    return {drawing.name: drawing.figure for section in sections for drawing in section.drawings}


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    return figures_of(quickstart_study())


def lines_with_data(axes: Axes) -> int:
    return len([line for line in axes.get_lines() if len(line.get_xdata()) > 0])


def courses_of(axes: Axes) -> list[list[list[float]]]:
    """The lines of more than one point that an axes shows, each as its [x, y] points."""
    return [
        part.tolist()
        for group in axes.collections
        if isinstance(group, LineCollection)
        for part in group.get_segments()
    ]


def test_every_axes_has_data_and_labels(figures: dict[str, Figure]) -> None:
    assert len(figures) == 12
    for name, figure in figures.items():
        shown = [axes for axes in figure.get_axes() if axes.get_visible()]
        assert shown, name
        for axes in shown:
            assert axes.has_data(), name
            assert lines_with_data(axes) or axes.patches, name
        assert any(axes.get_xlabel() or len(axes.get_xticklabels()) for axes in shown), name
        assert any(axes.get_ylabel() for axes in shown), name


def test_curves_figure_draws_every_trial(figures: dict[str, Figure]) -> None:
    (axes,) = figures["curves-round_1"].get_axes()
    courses = courses_of(axes)
    study = quickstart_study()
    curves = [study.curve(trial.trial, "validation", "loss") for trial in study.phase("round_1").trials]
    assert sorted(courses) == sorted([list(point) for point in curve] for curve in curves)
    assert axes.get_xlabel() == "updates"
    assert axes.get_ylabel() == "validation loss"


def test_decay_start_is_drawn_where_the_decay_starts(figures: dict[str, Figure]) -> None:
    (axes,) = figures["curves-round_1"].get_axes()
    spec = quickstart_study().phase("round_1").trials[0].spec
    start = spec.max_train_steps - spec.schedule.decay_steps
    assert any(list(line.get_xdata()) == [start, start] for line in axes.get_lines())


def test_bands_are_drawn_at_ten_and_seventy_five_percent(figures: dict[str, Figure]) -> None:
    upper, lower = figures["best-steps-round_1.2"].get_axes()
    spans = {(round(p.get_x(), 3), round(p.get_x() + p.get_width(), 3)) for p in upper.patches}  # type: ignore[attr-defined]
    assert {(0.0, 0.1), (0.75, 1.0)} <= spans
    assert (0.75, 1.0) not in {(round(p.get_x(), 3), round(p.get_x() + p.get_width(), 3)) for p in lower.patches}  # type: ignore[attr-defined]


def test_bars_add_up_to_the_feasible_trials() -> None:
    study = quickstart_study("big", num_points=60, searched=tuple(SPACE))
    figures = figures_of(study, tuple(SPACE))
    upper, _ = figures["best-steps-round_1"].get_axes()
    bars = [patch.get_height() for container in upper.containers for patch in container]  # type: ignore[attr-defined]
    assert sum(bars) == sum(trial.is_feasible for trial in study.phase("round_1").trials)


def test_sweep_marks_the_fastest_rate_the_edges_and_the_threshold(figures: dict[str, Figure]) -> None:
    upper, lower = figures["sweep"].get_axes()
    assert "0.0032: 840 updates" in [text.get_text() for text in upper.texts]
    markers = [line.get_marker() for line in upper.get_lines()]
    assert (markers.count("*"), markers.count("^"), markers.count("x")) == (1, 3, 1)
    edges = [
        line.get_xdata()[0]
        for line in upper.get_lines()
        if line.get_linestyle() != "None" and len(line.get_xdata()) == 2
    ]
    assert sorted(edges) == [5e-4, 2e-2]
    assert "fits at 1.2" in [text.get_text() for text in lower.texts]


def test_infeasible_trials_are_marked_in_the_axis_plots() -> None:
    searched = tuple(SPACE)
    figure = figures_of(quickstart_study("big", num_points=60, searched=searched), searched)["axes"]
    shown = [axes for axes in figure.get_axes() if axes.get_visible()]
    assert len(shown) == len(searched)
    for axes in shown:
        assert [len(line.get_xdata()) for line in axes.get_lines() if line.get_marker() == "x"] == [14]


def test_single_trial_is_drawn(tmp_path: object) -> None:
    study = unfinished_study()
    first = study.phase("round_1")
    study = replace(study, phases=(replace(first, trials=first.trials[:1]),))
    figures = figures_of(study)
    assert {"curves-round_1", "axes", "best-steps-round_1"} == set(figures)
    assert all(len(png(figure)) > 8_000 for figure in figures.values())


def test_accuracy_is_cut_on_its_worse_side() -> None:
    values = [0.1, 0.2, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96]
    low, high = focus_range(values, "maximize")
    assert 0.2 < low < 0.9
    assert high > 0.96
    low, high = focus_range([-value for value in values], "minimize")
    assert low < -0.96
    assert -0.9 < high < -0.2


def test_diverged_values_do_not_flatten_the_others() -> None:
    calm = tuple((step, 2.0 + 1 / step) for step in range(1, 50))
    low, high = value_range([calm, ((1, 3.0), (2, 1e9))], "minimize")
    assert low < 2.02
    assert high < 10


def test_the_one_trial_that_learned_is_never_cut_off() -> None:
    chance = [0.1 + 0.0001 * n for n in range(99)]
    assert focus_range([*chance, 0.9], "maximize")[1] > 0.9
    assert focus_range([*(-value for value in chance), -0.9], "minimize")[0] < -0.9
    flat = [tuple((step, value) for step in range(1, 26)) for value in chance]
    learned = tuple((step, 0.1 + 0.03 * step) for step in range(1, 26))
    assert value_range([*flat, learned], "maximize")[1] > learned[-1][1]


def test_curve_of_one_value_and_constant_curves_are_drawn() -> None:
    lines = (
        CurveLine(label="1", curve=((10, 2.0),), role="unfinished", best=(10, 2.0)),
        CurveLine(label="2", curve=((10, 2.0), (20, 2.0)), role="leading", best=(10, 2.0)),
    )
    picture = CurvesPicture(title="t", metric="loss", direction="minimize", max_train_steps=20, lines=lines)
    assert len(png(draw_curves(picture))) > 8_000


def test_choices_and_betas_have_axes_of_their_own() -> None:
    panels = (
        AxisPanel(
            name="optimizer", scale="linear", edges=None, points=(AxisPoint(x="sgd", value=2.0, phase="round_1"),)
        ),
        AxisPanel(
            name="beta1",
            scale="one_minus_log",
            edges=(0.8, 0.99),
            points=(
                AxisPoint(x=0.9, value=2.0, phase="round_1", is_best=True),
                AxisPoint(x=0.98, value=None, phase="round_1"),
            ),
        ),
    )
    figure = draw_axes(panels, metric="loss", direction="minimize", phases=("round_1",))
    names, betas = figure.get_axes()
    assert [text.get_text() for text in names.get_xticklabels()] == ["sgd"]
    assert betas.get_xlabel() == "1 - beta1 (log scale)"
    assert betas.get_xscale() == "log"
    png(figure)


def test_dollar_signs_in_names_are_not_read_as_mathematics() -> None:
    lines = (CurveLine(label="$x^", curve=((10, 2.0), (20, 1.0)), role="leading", best=(20, 1.0)),)
    picture = CurvesPicture(title="$\\frac{", metric="$loss$", direction="minimize", max_train_steps=20, lines=lines)
    assert len(png(draw_curves(picture))) > 8_000


def test_labels_never_stand_closer_than_their_gap() -> None:
    placed = sorted(spread([1.0, 1.0, 1.1, 5.0, 5.2], 0.5))
    assert all(b - a >= 0.5 - 1e-12 for a, b in pairwise(placed))


def test_binning_never_moves_a_step_across_a_band() -> None:
    for budget in (20, 33, 97, 840, 1000):
        for step in range(1, budget + 1):
            index = bin_of(step, budget)
            assert 0 <= index < NUM_BINS
            assert (index < 2) == (10 * step <= budget), (step, budget)
            assert (index >= 15) == (4 * step >= 3 * budget), (step, budget)


def test_histogram_counts_every_step_once() -> None:
    assert sum(histogram(list(range(1, 101)), 100)) == 100


def test_drawing_leaves_the_users_matplotlib_settings_alone() -> None:
    from matplotlib import rcParams

    before = dict(rcParams)
    png(figures_of(no_answer_study())["sweep"])
    assert dict(rcParams) == before


def test_distribution_shows_the_stored_verdict_and_the_judging_counts() -> None:
    study = quickstart_study()
    found = {distribution.phase: distribution for distribution in best_steps(make_config(), study)}
    assert list(found) == ["round_1", "round_1.2", "round_2"]
    assert found["round_1"].verdict == "too short"
    assert found["round_1"].check.num_late == 6
    assert found["round_2"].check.num_feasible == 4


def test_no_shared_point_leaves_the_slope_plot() -> None:
    points = tuple(SharedPoint(label=str(n), earlier=(2.0 + n / 100,), later=(1.9 + n / 100,)) for n in range(9))
    figure = draw_rounds(
        (*points, SharedPoint(label="far", earlier=(9.0,), later=(8.0,))),
        metric="loss",
        direction="minimize",
        names=("round_1", "round_2"),
        steps=(100, 200),
    )
    (axes,) = figure.get_axes()
    low, high = axes.get_ylim()
    assert all(low < value < high for line in axes.get_lines() for value in line.get_ydata())


def test_names_of_the_bands_stay_inside_them(figures: dict[str, Figure]) -> None:
    figure = figures["best-steps-round_1.2"]
    png(figure)
    for axes in figure.get_axes():
        for text in axes.texts:
            box = text.get_window_extent().transformed(axes.transData.inverted())
            start, end = (0.75, 1.0) if "last" in text.get_text() else (0.0, 0.1)
            assert start <= box.x0 < box.x1 <= end, text.get_text()
