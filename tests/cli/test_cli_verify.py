"""`tuner verify` and `tuner gc` as users meet them: lines, JSON, exit codes, and Optuna's tables."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from sample_studies import make_config
from test_cli_startup import heavy_modules

sys.path.insert(0, str(Path(__file__).parents[1] / "storage"))

from storage_cases import FakeWorker, execute, make_plan, make_spec, open_study  # isort: skip

from tuner import failpoints
from tuner.cli.main import run_command_line
from tuner.config.canonical import config_to_json
from tuner.records import Answer, ClosePhase, Conclude, GiveUp
from tuner.storage.store import Store
from tuner.trials.mirror import Mirror


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a finished study of two trials, mirrored; to be copied."""
    store = Store.open(None, tmp_path_factory.mktemp("finished") / "runs")
    config = make_config("x")
    lease = open_study(store, [make_spec(40), make_spec(60)], make_plan(steps=60))
    store.update_config("x", config_to_json(config))
    FakeWorker.next(store).begin().train(40, checkpoints=[20, 40]).end()
    FakeWorker.next(store).begin().train(60, checkpoints=[60]).end()
    store.apply(lease, ClosePhase(phase="round_1", verdict="adequate", reason="r"))
    answer = Answer(
        max_train_steps=60,
        verdict="v",
        best_trial=2,
        best_step=60,
        best_value=9.4,
        metric="loss",
        params={},
        sharing="exact",
    )
    store.apply(lease, Conclude(answer=answer))
    store.release(lease)
    sync(store)
    store.close()
    return store.paths.home


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(None, tmp_path / "runs")
    yield opened
    opened.close()


@pytest.fixture
def home(tmp_path: Path, finished: Path, request: pytest.FixtureRequest) -> str:
    """A copy of the finished study's home, which `store` has open."""
    shutil.copytree(finished, tmp_path / "runs")
    return str(request.getfixturevalue("store").paths.home)


def sync(store: Store) -> None:
    mirror = Mirror(store.url, make_config("x"))
    mirror.sync(store.load("x"))
    mirror.close()


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, exit_code: int = 0) -> str:
    capsys.readouterr()
    assert run_command_line(arguments) == exit_code
    return capsys.readouterr().out


def findings(capsys: pytest.CaptureFixture[str], home: str, *, exit_code: int = 2) -> list[str]:
    """What verify finds, as `check: problem`."""
    payload: Any = json.loads(ask(capsys, "verify", "x", "--json", "--home", home, exit_code=exit_code))
    return [f"{check['name']}: {found['problem']}" for check in payload["checks"] for found in check["findings"]]


def test_a_clean_study_is_one_line_per_invariant_and_exit_0(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ask(capsys, "verify", "--home", home).splitlines()
    assert lines[0] == "x"
    names = ["phases", "trials", "curves", "checkpoints", "files", "pins", "leases", "decisions", "bill", "mirror"]
    assert [line.split()[0] for line in lines[1:]] == names
    assert "trials       2 of 2 ok" in lines[2]
    assert "mirror       2 of 2 ok" in lines[-1]


def test_damage_is_exit_2_with_the_command_that_mends_it(
    home: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(store, "UPDATE tuner_trials SET best_value = 0.5 WHERE id = 1")
    text = ask(capsys, "verify", "x", "--home", home, exit_code=2)
    assert "trials       1 of 2 ok" in text
    assert "trial 1: best_value is 0.5, its rows say 9.6; `tuner verify x --repair` mends it" in text
    assert "repaired: trial 1: recomputed best_value" in ask(capsys, "verify", "x", "--repair", "--home", home)
    ask(capsys, "verify", "x", "--home", home)


@pytest.mark.parametrize("action", ["raise", "enospc"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_repair_that_fails_at_its_commit_is_done_again(
    when: str, action: str, home: str, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(store, "UPDATE tuner_trials SET best_value = 0.5 WHERE id = 1")
    failpoints._passed.clear()
    monkeypatch.setenv(failpoints.VARIABLE, f"repair.{when}:1:{action}")
    ask(capsys, "verify", "x", "--repair", "--home", home, exit_code=75 if action == "enospc" else 1)
    monkeypatch.delenv(failpoints.VARIABLE)
    found = findings(capsys, home, exit_code=2 if when == "before" else 0)
    assert any("best_value" in problem for problem in found) == (when == "before")
    ask(capsys, "verify", "x", "--repair", "--home", home)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_collection_that_fails_at_its_commit_loses_no_file_that_a_row_names(
    when: str, home: str, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config("x")
    answer_only = config.execution.model_copy(update={"retention": "answer"})
    store.update_config("x", config_to_json(config.model_copy(update={"execution": answer_only})))
    failpoints._passed.clear()
    monkeypatch.setenv(failpoints.VARIABLE, f"collect_garbage.{when}:1:raise")
    ask(capsys, "gc", "x", "--home", home, exit_code=1)
    monkeypatch.delenv(failpoints.VARIABLE)
    assert findings(capsys, home, exit_code=0) == []
    ask(capsys, "gc", "x", "--home", home)
    ask(capsys, "verify", "x", "--home", home)


def test_resume_completes_the_mirror_that_a_killed_planner_left_behind(
    home: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    optuna.delete_study(study_name="x/round_1", storage=store.url)
    assert any(found.startswith("mirror:") for found in findings(capsys, home))
    ask(capsys, "resume", "x", "--home", home)
    ask(capsys, "verify", "x", "--home", home)


def test_repair_of_a_running_study_is_refused_in_one_line(
    home: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    from storage_cases import ME

    store.acquire_planner("x", ME)
    execute(store, "UPDATE tuner_trials SET best_value = 0.5 WHERE id = 1")
    assert run_command_line(["verify", "x", "--repair", "--home", home]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tuner: study 'x' is being run by pid")
    assert error.count("\n") == 1


def lose_a_trial(study: optuna.Study) -> None:
    optuna.delete_study(study_name=study.study_name, storage=study._storage)


def double_a_trial(study: optuna.Study) -> None:
    study.add_trial(study.trials[0])


def add_a_stranger(study: optuna.Study) -> None:
    study.add_trial(optuna.trial.create_trial(value=1.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lose_a_trial, "has not ended in Optuna's tables, or is not there"),
        (double_a_trial, "is there 2 times, as numbers [0, 2]"),
        (add_a_stranger, "Optuna's trial 2 of round_1 is none of ours"),
        ("UPDATE trial_values SET value = 3", "has the value 3.0 in Optuna's tables, not 9.6"),
        ("UPDATE trials SET state = 'FAIL' WHERE number = 0", "is FAIL in Optuna's tables, not COMPLETE"),
        (
            "DELETE FROM trial_intermediate_values WHERE step = 20",
            "has 3 intermediate values in Optuna's tables that are not its curve",
        ),
    ],
)
def test_a_wrong_mirror_is_named_and_mended(
    harm: Any, told: str, home: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    if isinstance(harm, str):
        execute(store, harm)
    else:
        harm(optuna.load_study(study_name="x/round_1", storage=store.url))
    assert f"mirror: {told}" in findings(capsys, home)
    ask(capsys, "verify", "x", "--repair", "--home", home)
    assert findings(capsys, home, exit_code=0) == []
    trials = optuna.load_study(study_name="x/round_1", storage=store.url).trials
    assert [trial.value for trial in trials] == [pytest.approx(9.6), pytest.approx(9.4)]


def test_a_mirror_behind_a_study_that_goes_on_is_no_damage(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    lease = open_study(store, [make_spec(40)])
    store.update_config("x", config_to_json(make_config("x")))
    FakeWorker.next(store).begin().train(40, checkpoints=[40]).end()
    assert findings(capsys, str(store.paths.home), exit_code=0) == []
    assert "1 to follow at the study's next move" in ask(capsys, "verify", "x", "--home", str(store.paths.home))
    store.apply(lease, GiveUp(reason="r"))
    assert findings(capsys, str(store.paths.home)) == ["mirror: has not ended in Optuna's tables, or is not there"]


def test_verifying_imports_no_torch_and_makes_no_tables(store: Store) -> None:
    open_study(store, [make_spec(40)])
    assert not {"torch", "transformers", "pandas"} & set(heavy_modules("verify", "--home", str(store.paths.home)))
    tables = execute(store, "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'trials'")
    assert tables == []


def test_gc_says_what_it_freed_and_dry_run_frees_nothing(
    home: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    stray = store.paths.resolve(store.checkpoints(1)[0].path).with_name("step-000000001.epoch-0.full.safetensors")
    stray.write_bytes(b"12345")
    os.utime(stray, (0, 0))
    assert "would remove 1 files and folders, 5 bytes" in ask(capsys, "gc", "--dry-run", "--home", home)
    assert stray.exists()
    payload = json.loads(ask(capsys, "gc", "x", "--json", "--home", home))
    assert (payload["freed_bytes"], payload["num_left_alone"], payload["dry_run"]) == (5, 0, False)
    assert payload["removed"][0]["path"].endswith(stray.name)
    assert not stray.exists()
    ask(capsys, "verify", "x", "--home", home)
