"""`tuner run --probe-instability`: the flag is a setting of the study, planned and stored like any other."""

from __future__ import annotations

from pathlib import Path

import pytest
from stored_studies import keep_study

from sample_studies import unfinished_study  # isort: skip
from tuner.cli.main import run_command_line
from tuner.config.canonical import config_from_json, config_to_json
from tuner.config.load import load_study

STUDY = """\
study: probed
workload: {kind: causal_lm, text: "python:pydoc_data.topics:topics"}
budget: {first_guess_steps: 500, max_steps: 4000, perfect_fit: {metric: loss, at_most: 1.2}}
search_space: {learning_rate: {low: 1e-3, high: 1e-2, scale: log}}
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "probed.yaml"
    path.write_text(STUDY)
    return path


def test_the_plan_names_the_probe_only_when_it_was_asked_for(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", str(study)]) == 0
    assert "instability_probe" not in capsys.readouterr().out
    assert run_command_line(["check", str(study), "budget_sweep.probe_instability=true"]) == 0
    assert "instability_probe" in capsys.readouterr().out


@pytest.mark.parametrize("override", ["budget_sweep.probe_instability=false", "budget_sweep.probe_instability=true"])
def test_the_flag_beside_the_setting_is_refused(study: Path, override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["run", str(study), override, "--probe-instability"]) == 2
    told = capsys.readouterr().err
    assert "budget_sweep.probe_instability: given twice; keep one of them" in told
    assert len(told.splitlines()) == 1


def test_a_setting_that_is_no_yes_or_no_is_refused(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", str(study), "budget_sweep.probe_instability=500"]) == 2
    assert "budget_sweep.probe_instability" in capsys.readouterr().err


def test_a_study_that_decided_without_a_probe_does_not_get_one_later(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    keep_study(home, unfinished_study("probed"), load_study(study).config)
    assert run_command_line(["run", str(study), "--probe-instability", "--home", str(home)]) == 2
    told = capsys.readouterr().err
    assert "budget_sweep.probe_instability: false -> true" in told
    assert "another name" in told


def test_a_config_of_before_there_was_a_probe_is_one_without(study: Path) -> None:
    text = config_to_json(load_study(study).config)
    old = text.replace('"probe_instability":false,', "")
    assert old != text
    assert config_from_json(old) == load_study(study).config
