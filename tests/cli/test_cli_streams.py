"""Terminals that know ASCII alone, readers that leave early, Ctrl-C before a command is ready."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuner.cli.console import is_wide_enough, table
from tuner.cli.main import run_command_line
from tuner.cli.watching import Watcher
from tuner.records import Decision

ROOT = Path(__file__).parents[2]
ASCII = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("command", ["trials", "best-steps", "answer", "status"])
def test_ascii_terminal_is_spoken_to_in_ascii(command: str, stored_home: Path) -> None:
    arguments = [sys.executable, "-m", "tuner", command, "quickstart", "--home", str(stored_home)]
    run = subprocess.run(arguments, capture_output=True, env=ASCII, check=True)
    shown = run.stdout.decode("ascii")
    assert "\\u" not in shown
    assert "##" in shown or command != "best-steps"


def test_json_stays_exact_on_an_ascii_terminal() -> None:
    code = (
        "import json; from tuner.cli.streams import prepare_streams; prepare_streams(); "
        "print(json.dumps('Stra\\u00dfe \\U0001f600', ensure_ascii=False))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, env=ASCII, check=True)
    assert run.stdout == b'"Stra\\u00dfe \\ud83d\\ude00"\n'


@pytest.mark.parametrize("command", ["trials", "answer", "best-steps", "schema", "--help"])
def test_reader_that_leaves_early_is_no_error(command: str, stored_home: Path) -> None:
    named = [] if command in ("schema", "--help") else ["quickstart", "--home", str(stored_home)]
    read_end, write_end = os.pipe()
    os.close(read_end)
    arguments = [sys.executable, "-m", "tuner", command, *named]
    run = subprocess.run(arguments, stdout=write_end, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(write_end)
    assert (run.returncode, run.stderr) == (0, b"")


def test_broken_pipe_that_is_not_stdout_stays_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_it() -> str:
        raise BrokenPipeError(32, "a worker's pipe")

    monkeypatch.setattr("tuner.config.json_schema.study_schema", raise_it)
    assert run_command_line(["schema"]) == 1
    assert "a worker's pipe" in capsys.readouterr().err


def test_study_goes_on_when_nobody_reads_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from tuner.cli.console import stderr_console, warn

    read_end, write_end = os.pipe()
    os.close(read_end)
    with io.TextIOWrapper(os.fdopen(write_end, "wb", buffering=0), write_through=True) as closed:
        monkeypatch.setattr("sys.stderr", closed)
        with Watcher(stderr_console()) as watcher:
            for _ in range(3):
                watcher.decided(Decision(kind="rung", phase="budget_sweep", reason="because"))
                watcher.warned("something")
        warn("the end")


def test_early_interrupt_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def raise_it() -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("tuner.config.json_schema.study_schema", raise_it)
    assert run_command_line(["schema"]) == 130
    assert capsys.readouterr().err == "tuner: interrupted\n"


def test_interrupt_during_the_imports_has_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    run = subprocess.run(
        [sys.executable, "-m", "tuner", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert (run.returncode, run.stderr) == (130, "tuner: interrupted\n")


def test_warning_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    from tuner.cli.console import warn

    warn("few trials")
    assert capsys.readouterr().err == "tuner: warning: few trials\n"


def test_plan_fits_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(
        "study: small\n"
        "workload: {kind: causal_lm, text: 'nowhere/*.txt'}\n"
        "budget: {first_guess_steps: 500, max_steps: 2000, perfect_fit: {metric: loss, at_most: 1.2}}\n"
        "search_space: {learning_rate: {low: 1e-4, high: 1e-2, scale: log}}\n"
    )
    monkeypatch.setattr("tuner.cli.console.PIPED_WIDTH", 80)
    assert not is_wide_enough(table(["a"], [["x" * 81]]))
    assert run_command_line(["check", str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line for line in lines if line.startswith((" phase", "phase", "budget_sweep ", "round_"))]
    assert all(len(line) <= 80 for line in shown if ": " not in line)
    assert any(line.startswith("round_2: ") for line in lines)
    (tmp_path / "nowhere").mkdir()
    for number in range(40):
        (tmp_path / "nowhere" / f"{number}.txt").write_text("a line of text\n" * 500)
    # With a column of epochs it would be wider still: they go below.
    assert run_command_line(["check", str(study)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines if line.startswith((" phase", " budget_sweep ", " round_")))
    assert any(line.startswith("round_1: 0.0853 - 8.53 epochs per trial; at the number of steps") for line in lines)
