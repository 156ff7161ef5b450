"""`tuner extend`: what it says before anything is trained, and that nothing is stored then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored_studies import keep_study

from sample_studies import make_config, quickstart_study  # isort: skip
from tuner.cli.main import run_command_line
from tuner.storage.store import Owner, Store


@pytest.fixture
def home(tmp_path: Path) -> Path:
    keep_study(tmp_path / "runs", quickstart_study(), make_config())
    return tmp_path / "runs"


def extend(capsys: pytest.CaptureFixture[str], home: Path, *arguments: str, exit_code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert run_command_line(["extend", "quickstart", *arguments, "--home", str(home)]) == exit_code
    out, error = capsys.readouterr()
    return out, error


def kept(home: Path) -> tuple[object, ...]:
    store = Store.open(None, home, create=False)
    row, record = store.study("quickstart"), store.load("quickstart")
    store.close()
    return row.config, row.state, record.decisions, record.phases


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("round_1.max_adjustments=0",), "round_1.max_adjustments: 2 -> 0: only a larger number adds"),
        (("training.beta1=0.5",), "training.beta1: 0.9 -> 0.5 would change the weights"),
        (("nonsense",), '"nonsense" is not key=value'),
        (("--add-point", "lr=1"), "--add-point lr=1: lr is not searched by this study"),
        (("--workers", "0"), "--workers: 0, must be at least 1"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    arguments: tuple[str, ...], told: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept(home)
    out, error = extend(capsys, home, *arguments, exit_code=2)
    assert out == ""
    assert error.count("\n") == 1
    assert told in error
    assert kept(home) == before


def test_what_the_study_has_already_is_nothing_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = kept(home)
    out, _ = extend(capsys, home)
    assert out.startswith("nothing to do: study 'quickstart' already has all of this")
    out, error = extend(capsys, home, "--json")
    assert json.loads(out)["state"] == "finished"
    assert error.startswith("nothing to do") or "nothing to do" in error
    assert kept(home) == before


def test_a_running_study_is_not_extended(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(None, home, create=False)
    lease = store.acquire_planner("quickstart", Owner.of_this_process("planner"))
    _, error = extend(capsys, home, "round_1.num_trials=99", exit_code=2)
    assert "study 'quickstart' is being run; wait for it or stop it" in error
    store.release(lease)
    store.close()


def test_a_study_that_is_not_there_is_named(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["extend", "quickstarts", "--home", str(home)]) == 2
    assert "did you mean quickstart?" in capsys.readouterr().err
