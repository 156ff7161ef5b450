"""Ctrl-C, a second planner, a changed config, and readers beside a running study."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from study_processes import Home, kill_group


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def long_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A study that runs for longer than any of these tests looks at it."""
    home = Home(tmp_path_factory.mktemp("long"))
    text = (
        home.study.read_text().replace("at_most: 0.1", "at_most: 1e-9").replace("max_steps: 640", "max_steps: 640000")
    )
    home.study.write_text(text)
    return home


@pytest.fixture(scope="module")
def running(long_home: Home) -> Iterator[subprocess.Popen[str]]:
    """The planner of that study, at work."""
    process = long_home.start("run", "tiny.yaml", "--workers", "2")
    try:
        assert long_home.wait_for_evals(process, 60)
        yield process
    finally:
        kill_group(process)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A study that was begun and killed."""
    home = Home(tmp_path_factory.mktemp("killed"))
    process = home.start("run", "tiny.yaml", "--workers", "1")
    assert home.wait_for_evals(process, 5)
    kill_group(process)
    return home


@pytest.mark.slow
def test_ctrl_c_saves_and_resume_goes_on_at_once(home: Home) -> None:
    process = home.start("run", "tiny.yaml", "--workers", "2")
    assert home.wait_for_evals(process, 30)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert "tuner resume tiny" in error
    assert home.json("status", "tiny")["state"] == "interrupted"
    num_evals = home.num_evals()
    process = home.start("resume", "tiny", "--workers", "1")
    assert home.wait_for_evals(process, num_evals + 20)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert home.json("status", "tiny")["steps"]["recomputed"] == 0


@pytest.mark.slow
def test_a_second_run_of_a_running_study_is_refused(long_home: Home, running: subprocess.Popen[str]) -> None:
    for command in (("run", "tiny.yaml"), ("resume", "tiny")):
        error = long_home.tuner(*command, exit_code=2)
        assert "Traceback" not in error
        assert str(running.pid) in error
    assert long_home.json("status", "tiny")["state"] == "running"


@pytest.mark.slow
def test_optuna_opens_the_database_while_the_study_runs(long_home: Home, running: subprocess.Popen[str]) -> None:
    url = f"sqlite:///{long_home.folder / 'runs' / 'tuner.db'}"
    # The mirror follows the planner's loop, which on a busy machine is seconds behind the workers.
    while "tiny/budget_sweep" not in optuna.get_all_study_names(storage=url):
        assert running.poll() is None
    assert optuna.load_study(study_name="tiny/budget_sweep", storage=url) is not None
    assert running.poll() is None


@pytest.mark.slow
def test_terminated_by_the_system_it_saves_and_exits_143(home: Home) -> None:
    process = home.start("run", "tiny.yaml", "--workers", "1")
    assert home.wait_for_evals(process, 20)
    process.terminate()
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert home.json("status", "tiny")["state"] == "interrupted"


@pytest.mark.slow
def test_a_terminal_that_closes_saves_the_workers_states_too(home: Home) -> None:
    process = home.start("run", "tiny.yaml", "--workers", "1")
    assert home.wait_for_evals(process, 20)
    os.killpg(process.pid, signal.SIGHUP)
    process.communicate(timeout=120)
    assert process.returncode == 129
    home.tuner("resume", "tiny", "--workers", "1")
    assert home.json("status", "tiny")["steps"]["recomputed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "word"),
    [("training.weight_decay=0.5", "training.weight_decay"), ("round_1.num_trials=6", "round_1.num_trials")],
)
def test_a_changed_recipe_or_decision_is_refused_on_an_existing_study(killed: Home, override: str, word: str) -> None:
    error = killed.tuner("run", "tiny.yaml", override, exit_code=2)
    assert word in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_changed_execution_is_accepted_on_an_existing_study(killed: Home) -> None:
    num_evals = killed.num_evals()
    changes = ("execution.checkpoint_every_steps=50", "execution.workers=1", "execution.log_every_steps=1")
    process = killed.start("run", "tiny.yaml", *changes)
    try:
        assert killed.wait_for_evals(process, num_evals + 20)
    finally:
        kill_group(process)
