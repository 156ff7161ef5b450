"""`tuner extend`: what it says before anything is trained, and that nothing is stored then."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from stored_studies import keep_study

from sample_studies import make_config, quickstart_study  # isort: skip
from tuner.cli.main import run_command_line
from tuner.config.canonical import config_from_json
from tuner.engines.local import Interrupted
from tuner.records import Conclude
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


def test_a_frontier_that_cannot_be_is_no_frontier_that_is_there_already(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = quickstart_study().answer
    assert answer is not None
    monkeypatch.setattr("tuner.protocol.advance.next_move", lambda *given, **more: Conclude(answer=answer))
    _, error = extend(capsys, home, "frontier.budgets=[3,5]", exit_code=2)
    assert "--budgets 3: warmup_steps=20 and the decay leave no plateau" in error


def test_a_dry_run_is_told_as_json_too(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = kept(home)
    out, _ = extend(capsys, home, "round_1.num_trials=99", "--dry-run", "--json")
    told = json.loads(out)
    assert told["state"] == "finished"
    assert told["next"][0]["kind"] == "extended"
    assert "round_1.num_trials: " in told["next"][0]["reason"]
    out, error = extend(capsys, home, "--dry-run", "--json")
    assert json.loads(out)["next"] == []
    assert "nothing to do" in error
    assert kept(home) == before


def test_how_it_is_carried_out_is_stored_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = extend(capsys, home, "execution.workers=3", "--dry-run")
    assert out.startswith("nothing to do")
    out, _ = extend(capsys, home, "execution.workers=3")
    assert out.startswith('execution.workers: "auto" -> 3 is stored, and asks for no further training')
    assert config_from_json(str(kept(home)[0])).execution.workers == 3
    assert extend(capsys, home, "execution.workers=3")[0].startswith("nothing to do")


def test_one_that_is_stopped_before_it_was_committed_says_so(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*arguments: object) -> None:
        raise Interrupted(signal.SIGINT)

    before = kept(home)
    monkeypatch.setattr("tuner.cli.run._build_engine", stopped)
    _, error = extend(capsys, home, "round_1.num_trials=99", exit_code=130)
    assert "stopped by SIGINT; nothing is changed yet: extend it again" in error
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
