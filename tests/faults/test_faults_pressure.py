"""Full disks, locked databases, signals and readers that leave, under whole studies."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from failpoint_faults import SMALL, run
from lives import Life
from pressure_faults import CAMPAIGNS, pressure, require_ends_as_undisturbed
from toy_study import ToyStudy


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CAMPAIGNS[0].num_ci))
def test_a_study_on_a_disk_that_fills_up_ends_as_if_there_had_been_space(seed: int, tmp_path: Path) -> None:
    pressure(seed, tmp_path)


def begun(folder: Path, entry: str) -> tuple[ToyStudy, Life]:
    """A study in its midst."""
    study = ToyStudy(folder, SMALL)
    arguments = ["run", str(study.yaml), "--home", str(study.home), "--workers", "1"]
    life = Life(arguments, folder=study.folder, entry=entry)
    assert study.wait_for_writes(life, 12)
    return study, life


def lock(study: ToyStudy) -> sqlite3.Connection:
    connection = sqlite3.connect(study.home / "tuner.db", isolation_level=None, timeout=60)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


@pytest.mark.slow
def test_a_database_that_stays_locked_ends_the_command_with_75_and_loses_nothing(tmp_path: Path) -> None:
    study, life = begun(tmp_path, "failpoint_faults:hurried")
    with closing(lock(study)):
        said, _ = life.communicate()
        assert life.returncode == 75, said
        assert "is held by others; waiting" in said
        assert said.splitlines()[-1].endswith("is held by others; nothing was lost, run the command again")
        assert "Traceback" not in said
    require_ends_as_undisturbed(study)


@pytest.mark.slow
def test_a_lock_that_is_let_go_in_time_costs_nothing_but_time(tmp_path: Path) -> None:
    study, life = begun(tmp_path, "tuner")
    with closing(lock(study)) as connection:
        while "is held by others; waiting for at most 60 s" not in (study.folder / "said.txt").read_text():
            assert life.poll() is None
            time.sleep(0.05)
        connection.execute("ROLLBACK")
    said, _ = life.communicate()
    assert life.returncode == 0, said
    with closing(sqlite3.connect(study.home / "tuner.db")) as connection:
        lives = connection.execute(
            "select trial_id, count(*) from tuner_attempts group by 1 having max(lease_epoch) > 1"
        )
        paused = {trial for (trial,) in connection.execute("select id from tuner_trials where phase_id = 1")}
        assert {trial for trial, _ in lives} <= paused, "no trial was taken up again but for the sweep's next rung"
    require_ends_as_undisturbed(study)


@pytest.mark.slow
def test_a_study_ends_well_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    study = ToyStudy(tmp_path, SMALL)
    exit_code, said = run(study, entry="pressure_faults:nobody_reads")
    assert (exit_code, said) == (0, "")
    require_ends_as_undisturbed(study)


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_without_waiting_for_a_worker_that_hangs(tmp_path: Path) -> None:
    study, life = begun(tmp_path, "pressure_faults:waits_for_workers")
    with closing(sqlite3.connect(study.home / "tuner.db", timeout=60)) as connection:
        query = "select lease_owner from tuner_trials where lease_owner is not null"
        while (held := connection.execute(query).fetchone()) is None:
            assert life.poll() is None
    os.kill(json.loads(held[0])["pid"], signal.SIGSTOP)
    while life.poll() is None:
        os.kill(life.pid, signal.SIGINT)
        time.sleep(0.05)
    said, _ = life.communicate()
    assert life.returncode == 130, said
    assert "Traceback" not in said
    require_ends_as_undisturbed(study)


# Ctrl-C is tried by every run of the tests.
@pytest.mark.parametrize(
    "number", [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGHUP))]
)
def test_a_signal_saves_everything_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    study, life = begun(tmp_path, "failpoint_faults:hurried")
    os.kill(life.pid, number)
    said, _ = life.communicate()
    assert life.returncode == 128 + number, said
    assert said.splitlines()[-1] == f"tuner: stopped by {number.name}; go on with: tuner resume toy"
    require_ends_as_undisturbed(study)
