"""The page opens without a network, runs nothing, and tells the truth about studies that are not finished."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_studies import (
    BILL,
    SPACE,
    empty_study,
    make_config,
    no_answer_study,
    quickstart_study,
    unfinished_study,
)

from tuner.config.schema import StudyConfig
from tuner.errors import HomeError
from tuner.records import Decision, StudyRecord
from tuner.report.build import ReportFiles, build_report
from tuner.report.files import as_csv, write_atomically
from tuner.report.section import Table

HOSTILE = "<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    """Tags with their attributes, and all visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def write(study: StudyRecord, out: Path, config: StudyConfig | None = None) -> ReportFiles:
    return build_report(study, config or make_config(), bill=BILL, out=out, command="tuner run quickstart.yaml")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    return write(quickstart_study(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(written: ReportFiles) -> Elements:
    return Elements(written.page.read_text())


def test_page_refers_to_nothing_outside_itself(page: Elements) -> None:
    references = [
        v for _, attributes in page.tags for k, v in attributes.items() if k in ("src", "href", "data", "action")
    ]
    assert references
    assert all(reference.startswith(("data:image/png;base64,", "#")) for reference in references)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}


def test_page_forbids_every_request_by_its_policy(page: Elements) -> None:
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_page_names_no_network_address(written: ReportFiles) -> None:
    text = re.sub(r"data:image/png;base64,[^\"]*", "", written.page.read_text())
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text)


@pytest.mark.usefixtures("unrendered")
def test_hostile_names_stay_text(tmp_path: Path) -> None:
    decision = Decision(kind="rung", phase="budget_sweep", reason=f"because {HOSTILE}")
    study = replace(no_answer_study(HOSTILE), decisions=(decision,), reason=HOSTILE)
    config = make_config(HOSTILE).model_copy(update={"description": HOSTILE})
    elements = Elements(write(study, tmp_path, config).page.read_text())
    images = [attributes for tag, attributes in elements.tags if tag == "img"]
    assert all((attributes["src"] or "").startswith("data:") for attributes in images)
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    assert HOSTILE in elements.text


def test_links_of_the_contents_lead_to_sections(page: Elements) -> None:
    targets = {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"}
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert targets == set(sections)
    assert len(sections) == len(set(sections))


def test_page_shows_the_answer_with_epochs_seeds_and_command(page: Elements) -> None:
    answer = quickstart_study().answer
    assert answer is not None
    assert f"Train for {answer.max_train_steps:,} updates (53.8 epochs)" in page.text
    assert f"{answer.best_value:.5g} at step {answer.best_step:,}" in page.text
    assert "tuner run quickstart.yaml" in page.text
    assert "with one seed; seed deviation 0.0038, pooled over other points" in page.text


def test_page_states_every_decision_trial_and_account(page: Elements) -> None:
    study = quickstart_study()
    for decision in study.decisions:
        assert decision.reason in page.text
    assert "19,870" in page.text
    for title in ("Before you believe it", "Step budget of round_1.2", "Budget sweep", "Hyperparameters", "The bill"):
        assert title in page.text


def test_every_figure_is_a_file_and_on_the_page(written: ReportFiles, page: Elements) -> None:
    names = {path.name for path in written.figures}
    assert {
        "sweep.png",
        "axes.png",
        "best-steps-round_1.png",
        "best-steps-round_2.png",
        "curves-budget_sweep.png",
    } <= names
    assert {"rounds-round_1-round_1.2.png", "rounds-round_1.2-round_2.png"} <= names
    assert len([tag for tag, _ in page.tags if tag == "img"]) == len(names)
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 8_000 for path in written.figures)


def test_images_are_described_for_those_who_cannot_see_them(page: Elements) -> None:
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


@pytest.mark.usefixtures("unrendered")
def test_decisions_are_listed_with_their_times(tmp_path: Path) -> None:
    study = no_answer_study()
    times = [f"2026-01-01 10:00:{second:02d}" for second in range(len(study.decisions))]
    files = build_report(study, make_config(), bill=BILL, out=tmp_path, decision_times=times)
    rows = list(csv.reader(io.StringIO((tmp_path / "tables" / "decisions.csv").read_text())))
    assert [row[0] for row in rows[1:]] == times
    assert times[-1] in files.page.read_text()


@pytest.mark.usefixtures("unrendered")
def test_unfinished_study_says_so_and_shows_the_best_so_far(tmp_path: Path) -> None:
    files = write(unfinished_study(), tmp_path)
    text = Elements(files.page.read_text()).text
    assert "Interrupted: this page shows what is known now." in text
    assert "There is no answer yet" in text
    assert "Best so far: validation loss" in text
    assert "not judged yet" in text
    answer = json.loads(files.answer.read_text())
    assert answer["answer"] is None
    assert answer["best_so_far"]["max_train_steps"] == 840


@pytest.mark.usefixtures("unrendered")
def test_study_without_an_answer_shows_the_reason_and_the_sweep(tmp_path: Path) -> None:
    files = write(no_answer_study(), tmp_path)
    text = Elements(files.page.read_text()).text
    assert "ended without an answer: no rate reached train loss <= 1.2" in text
    assert "No rate reached train loss ≤ 1.2." in text
    assert {path.name for path in files.figures} == {"sweep.png", "curves-budget_sweep.png", "instability.png"}


def test_study_that_just_began_has_a_page(tmp_path: Path) -> None:
    files = write(empty_study(), tmp_path)
    text = Elements(files.page.read_text()).text
    assert "Still running" in text
    assert "Nothing has been decided yet." in text
    assert files.figures == ()


@pytest.mark.usefixtures("unrendered")
def test_page_of_sixty_trials_folds_the_long_table(tmp_path: Path) -> None:
    searched = tuple(SPACE)
    study = quickstart_study("big", num_points=60, searched=searched)
    elements = Elements(write(study, tmp_path, make_config("big", searched)).page.read_text())
    assert "All trials (129 rows)" in elements.text
    assert "Spearman rank correlation" in elements.text


def test_answer_file_holds_the_answer_and_its_reasons(written: ReportFiles) -> None:
    answer = json.loads(written.answer.read_text())
    keys = ["study", "state", "answer", "best_so_far", "why", "caveats", "isolation", "phases", "steps", "seconds"]
    assert list(answer) == keys
    assert answer["seconds"]["idle"] == BILL["seconds"]["idle"]
    assert answer["answer"]["best_value"] == quickstart_study().answer.best_value
    assert answer["steps"]["stage_tree"] == BILL["stage_tree"]


def test_tables_hold_whole_values(written: ReportFiles) -> None:
    path = next(path for path in written.tables if path.name == "trials.csv")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    trials = quickstart_study().trials()
    assert [float(row["best value"]) for row in rows] == [trial.best_value for trial in trials]


def test_spreadsheet_formulas_are_made_plain_text() -> None:
    table = Table(
        name="t", title="t", columns=("a", "=b"), rows=(("=1+1", -3.5), ("@x", "-y"), ("+z", "\tq"), ("a=b", None))
    )
    rows = list(csv.reader(io.StringIO(as_csv(table).decode())))
    assert rows == [["a", "'=b"], ["'=1+1", "-3.5"], ["'@x", "'-y"], ["'+z", "'\tq"], ["a=b", ""]]


def test_report_is_rewritten_whole_and_leaves_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write(empty_study(), tmp_path)
    write(empty_study(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.rglob("*.part"))


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_atomically(tmp_path / "page.html", b"old")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_out_that_is_a_file_is_refused_with_a_remedy(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises(HomeError, match=r"--out: .*choose another folder"):
        write(empty_study(), taken)


def test_report_and_its_figures_are_the_same_for_the_same_study(tmp_path: Path) -> None:
    one, other = write(no_answer_study(), tmp_path / "a"), write(no_answer_study(), tmp_path / "b")
    assert [path.read_bytes() for path in one.figures] == [path.read_bytes() for path in other.figures]


def test_out_that_cannot_be_made_is_one_line_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.report.build.all_sections", lambda source: pytest.fail("drawn"))
    for out in (Path("/proc/none/report"), Path("/proc/report"), Path("x" * 300)):
        with pytest.raises(HomeError, match=r"--out: .*choose another folder"):
            write(empty_study(), out)


@pytest.mark.usefixtures("unrendered")
def test_times_of_decisions_do_not_break(tmp_path: Path) -> None:
    study = no_answer_study()
    times = ["2026-01-01 10:00:00"] * len(study.decisions)
    page = build_report(study, make_config(), bill=BILL, out=tmp_path, decision_times=times).page.read_text()
    assert '<td class="t">2026-01-01 10:00:00</td>' in page
    assert "td.t { white-space: nowrap; }" in page


@pytest.mark.usefixtures("unrendered")
def test_one_phase_is_one_phase(tmp_path: Path) -> None:
    assert "answer. 1 phase, 5 trials." in write(no_answer_study(), tmp_path).page.read_text()
