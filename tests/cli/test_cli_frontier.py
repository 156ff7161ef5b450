"""`tuner frontier`: what it refuses, in one line, before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from stored_studies import keep_study

from sample_studies import make_config, quickstart_study, unfinished_study  # isort: skip
from tuner.cli.main import run_command_line
from tuner.config.canonical import config_from_json
from tuner.errors import StudyError
from tuner.storage.store import Store


def refused(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str) -> str:
    capsys.readouterr()
    assert run_command_line(["frontier", *arguments, "--home", str(home)]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1, error
    return error


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budgets", "3,1600"), "--budgets 3: warmup_steps="),
        (("--budgets", "many"), "--budgets many: numbers of updates with commas between them"),
        (("--decay-share", "1.5"), "--decay-share: 1.5: "),
        (("--decay-shape", "round"), "--decay-shape: round: "),
        (("--proxy",), "--proxy reads averaged weights, which study 'quickstart' was run without"),
        (("--proxy", "--num-budgets", "4"), "num_budgets=4 has no effect with proxy=true"),
        (("--num-calibrations", "3"), "num_calibrations=3 calibrates a proxy, and proxy=false"),
        (("--workers", "0"), "--workers: 0, must be at least 1"),
        (("--hours", "nan"), "--hours: nan, must be a number above 0"),
        (("--hours", "-1"), "--hours: -1, must be a number above 0"),
        (("--budgets", "1600,1600"), "hold 1 of 2 budgets; a frontier needs 2"),
    ],
)
def test_what_leaves_nothing_to_fork_is_refused_and_nothing_is_stored(
    options: tuple[str, ...], told: str, stored_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(capsys, stored_home, "quickstart", *options)
    store = Store.open(None, stored_home, create=False)
    assert config_from_json(store.study("quickstart").config).frontier is None
    assert store.study("quickstart").state == "finished"
    store.close()


def test_what_a_worker_refuses_stays_no_part_of_the_study(
    stored_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*arguments: object) -> None:
        raise StudyError("other data")

    monkeypatch.setattr("tuner.cli.run._build_engine", refusing)
    assert "other data" in refused(capsys, stored_home, "quickstart")
    store = Store.open(None, stored_home, create=False)
    study = store.study("quickstart")
    assert (config_from_json(study.config).frontier, study.state) == (None, "finished")
    assert store.load("quickstart", with_curves=False).answer is not None
    store.close()


def test_budgets_of_a_proxy_are_the_ends_of_what_it_covers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def began(*arguments: object) -> None:
        raise StudyError("training begins")

    study, phases = quickstart_study(), []
    for phase in study.phases:
        measured = replace(phase.plan.eval, averaged_horizons=(50, 200))
        phases.append(replace(phase, plan=replace(phase.plan, eval=measured)))
    keep_study(tmp_path / "runs", replace(study, phases=tuple(phases)), make_config())
    monkeypatch.setattr("tuner.cli.run._build_engine", began)
    assert "training begins" in refused(
        capsys, tmp_path / "runs", "quickstart", "--proxy", "--budgets", "800,1111,1600"
    )


def test_a_study_without_an_answer_has_no_trunk_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = unfinished_study()
    keep_study(tmp_path / "runs", study, make_config(study.name))
    line = refused(capsys, tmp_path / "runs", study.name)
    assert "has no answer yet, whose trunk a frontier is forked from" in line
    assert f"tuner resume {study.name}" in line


def test_a_schedule_without_a_plateau_has_nothing_to_fork(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, study = make_config("flat"), replace(quickstart_study(), name="flat")
    training = config.training.model_copy(update={"schedule": "cosine"})
    keep_study(tmp_path / "runs", study, config.model_copy(update={"training": training}))
    line = refused(capsys, tmp_path / "runs", "flat")
    assert "training.schedule=cosine has no plateau" in line
    assert "schedule: warmup_stable_decay" in line


def test_a_study_whose_hours_are_used_up_measures_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, study = make_config("late"), replace(quickstart_study(), name="late")
    limits = config.limits.model_copy(update={"study_hours": 1e-9})
    keep_study(tmp_path / "runs", study, config.model_copy(update={"limits": limits}))
    assert "limits.study_hours=1e-09 of study 'late' are used up" in refused(capsys, tmp_path / "runs", "late")
