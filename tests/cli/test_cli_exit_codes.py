"""Every kind of ending has its exit code and says itself in one line."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import pytest

from tuner import errors
from tuner.cli.main import COMMANDS, run_command_line


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `tuner schema` fail with an error."""

    def raise_it() -> str:
        raise error

    monkeypatch.setattr("tuner.config.json_schema.study_schema", raise_it)


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.ConfigError("a setting"), 2),
        (errors.StudyError("a study"), 2),
        (errors.DataError("some data"), 2),
        (errors.HomeError("a home"), 2),
        (errors.NoAnswer("no answer"), 3),
        (errors.TryAgainLater("later"), 75),
        (OSError(errno.ENOSPC, "No space left on device"), 75),
        (sqlite3.OperationalError("database or disk is full"), 75),
        (KeyboardInterrupt(), 130),
    ],
)
def test_expected_error_is_one_line_with_its_exit_code(
    error: BaseException, exit_code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error)
    assert run_command_line(["schema"]) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line]
    assert "Traceback" not in captured.err
    if exit_code != 130:
        assert len(lines) == 1
        assert lines[0].startswith("tuner: ")


def test_disk_full_is_seen_through_the_error_that_wraps_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapped = RuntimeError("a query failed")
    wrapped.__cause__ = sqlite3.OperationalError("database or disk is full")
    fail_with(monkeypatch, wrapped)
    assert run_command_line(["schema"]) == 75
    assert "disk is full" in capsys.readouterr().err


def test_bug_keeps_its_traceback_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a bug"))
    assert run_command_line(["schema"]) == 1
    captured = capsys.readouterr()
    assert "Traceback" in captured.err
    assert "ZeroDivisionError: a bug" in captured.err


@pytest.mark.parametrize("arguments", [["stats"], ["trials"], ["status", "--nope"], []])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(arguments) == 2
    assert "Usage:" in capsys.readouterr().err


def test_mistyped_command_is_told_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    run_command_line(["stats"])
    assert "Did you mean 'status'?" in capsys.readouterr().err


def test_error_of_several_settings_prints_a_line_for_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, errors.ConfigError("a.yaml:1: one\na.yaml:2: two"))
    assert run_command_line(["schema"]) == 2
    assert capsys.readouterr().err.splitlines() == ["tuner: a.yaml:1: one", "tuner: a.yaml:2: two"]


def test_terminal_escapes_in_an_error_are_written_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, errors.ConfigError("study \x1b[2J[red]x[/red]"))
    run_command_line(["schema"])
    assert capsys.readouterr().err == "tuner: study \\x1b[2J[red]x[/red]\n"


@pytest.mark.parametrize("command", ["status", "trials", "best-steps", "answer", "report"])
def test_home_without_studies_is_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([command, "x", "--home", str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1
    assert not (tmp_path / "nowhere").exists()


def test_unknown_study_is_answered_with_those_there_are(stored_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["status", "quickstrat", "--home", str(stored_home)]) == 2
    assert "did you mean quickstart" in capsys.readouterr().err


def test_home_is_taken_from_the_environment(
    stored_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNER_HOME", str(stored_home))
    assert run_command_line(["status", "quickstart"]) == 0
    assert "finished" in capsys.readouterr().out


def test_check_prints_the_plan_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: small\n"
        "workload: {kind: causal_lm, text: 'nowhere/*.txt'}\n"
        "budget: {first_guess_steps: 500, max_steps: 2000, perfect_fit: {metric: loss, at_most: 1.2}}\n"
        "search_space: {learning_rate: {low: 1e-4, high: 1e-2, scale: log}}\n"
    )
    assert run_command_line(["check", str(study), "round_1.num_trials=7"]) == 0
    captured = capsys.readouterr()
    assert all(phase in captured.out for phase in ("budget_sweep", "round_1", "round_2"))
    assert " 7 " in captured.out
    assert "epochs are unknown before the run: workload.text=nowhere/*.txt: no file matches" in captured.out
    (tmp_path / "nowhere").mkdir()
    for number in range(4):
        (tmp_path / "nowhere" / f"{number}.txt").write_text("a line of text\n" * 100)
    assert run_command_line(["check", str(study)]) == 0
    # Two documents of 1,501 tokens in blocks of 64; 20 to 2,000 updates of 16.
    out = capsys.readouterr().out
    assert "46 training examples" in out
    assert "6.96 - 696" in out


def test_check_of_a_wrong_study_names_file_line_and_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("study: small\nworkload: {kind: causal_lm, text: a.txt}\nbudgett: {max_steps: 2000}\n")
    assert run_command_line(["check", str(study)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"tuner: {study}:3: budgett" in captured.err


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    assert run_command_line(["schema"]) == 0
    assert "properties" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_each_command_opens_with_its_line_and_has_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert COMMANDS[name].help in text
    assert f"\n  tuner {name}" in text


def test_a_traceback_obeys_nothing_of_the_texts_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("a \x1b[2J \x9b31m \u202e bug"))
    assert run_command_line(["schema"]) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: a \\x1b[2J \\x9b31m \\u202e bug" in said
    assert all(line.isprintable() for line in said.split("\n"))
