"""Checkpoints are written while training goes on, and whatever ends an attempt has them written."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from in_process import Study

from tuner.errors import TryAgainLater
from tuner.storage.store import Store
from tuner.training.run import TrainingRun
from tuner.training.snapshot import Snapshot
from tuner.trials.checkpoint_writer import CheckpointWriter

PATIENTLY = 30.0
"""Seconds after which a thread that should have gone on is taken to hang."""


class SlowDisk:
    """`Snapshot.save` that waits until it is let go on, and tells when it waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits, self.goes_on = threading.Event(), threading.Event()
        self.saved: list[int] = []
        whole = Snapshot.save

        def save(snapshot: Snapshot, path: Path) -> object:
            self.waits.set()
            assert self.goes_on.wait(PATIENTLY), "nobody let the disk go on"
            if not self.saved:
                time.sleep(0.2)  # Long enough for an evaluation, should it not wait.
            self.saved.append(snapshot.global_step)
            return whole(snapshot, path)

        monkeypatch.setattr(Snapshot, "save", save)


def let_go_at(step: int, disk: SlowDisk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The disk goes on once an update has come so far; at which steps updates found it waiting."""
    trained: list[int] = []
    update = TrainingRun.update

    def watched(run: TrainingRun) -> None:
        update(run)
        if disk.waits.is_set() and not disk.goes_on.is_set():
            trained.append(run.global_step)
        if run.global_step == step:
            disk.goes_on.set()

    monkeypatch.setattr(TrainingRun, "update", watched)
    return trained


def test_training_goes_on_while_a_checkpoint_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Study(home / "plain")
    plain.run()
    disk, study = SlowDisk(monkeypatch), Study(home / "slow")
    trained = let_go_at(8, disk, monkeypatch)
    study.run()
    # Checkpoints are due every 6 steps and evaluations every 3.
    assert 8 in trained, "the one at 6 was still being written after the update to 8"
    assert disk.saved[-1] == 20
    assert study.results() == plain.results()


def test_rows_come_in_the_order_of_their_steps(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, study = SlowDisk(monkeypatch), Study(home)
    let_go_at(8, disk, monkeypatch)
    stored: list[tuple[str, int]] = []

    def note(name: str) -> None:
        whole = getattr(Store, name)

        def noted(store: Store, *arguments: Any, **more: Any) -> None:
            whole(store, *arguments, **more)
            stored.append((name, more["progress"].to_step))

        monkeypatch.setattr(Store, name, noted)

    note("add_checkpoint")
    note("record_evaluation")
    study.run()
    assert ("add_checkpoint", 6) in stored
    assert [step for _, step in stored] == sorted(step for _, step in stored)


def test_an_interrupted_trial_has_its_checkpoint_before_it_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, study = SlowDisk(monkeypatch), Study(home)
    letting_go = threading.Timer(0.2, disk.goes_on.set)
    letting_go.start()
    assert study.stop_at(9) == "released"
    assert study.trials()[0].last_step == 9
    study.run()
    (bill,) = [study.store.bill("x")]
    assert bill["recomputed"] == 0, "it went on from where it was left"


def test_a_full_disk_is_told_before_the_next_commit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(home)

    def full(snapshot: Snapshot, path: Path) -> object:
        raise TryAgainLater("the disk is full: x could not be written; free some space", may_repeat=False)

    monkeypatch.setattr(Snapshot, "save", full)
    seen: list[int] = []
    study.bench.on_progress = lambda trial, step: seen.append(step)
    with pytest.raises(TryAgainLater, match="the disk is full"):
        study.step()
    assert seen[-1] == 6, "the checkpoint at 6 failed, the evaluation at 9 was not stored"


def test_one_write_at_a_time_and_its_error_is_told_once() -> None:
    goes_on, order = threading.Event(), []

    def slow() -> None:
        goes_on.wait(PATIENTLY)
        order.append("slow")
        raise OSError("told")

    with CheckpointWriter() as writer:
        writer.begin(slow)
        threading.Timer(0.1, goes_on.set).start()
        with pytest.raises(OSError, match="told"):
            writer.begin(lambda: order.append("never"))
        writer.wait()
        writer.begin(lambda: order.append("next"))
    assert order == ["slow", "next"]


def test_what_ends_a_block_is_told_and_not_what_was_under_way() -> None:
    finished = []

    def fails() -> None:
        finished.append(True)
        raise OSError("hidden")

    def block() -> None:
        with CheckpointWriter() as writer:
            writer.begin(fails)
            raise KeyError("shown")

    with pytest.raises(KeyError, match="shown"):
        block()
    assert finished == [True], "it was waited for all the same"


def test_an_error_at_the_end_of_a_block_is_not_lost() -> None:
    def fails() -> None:
        raise OSError("told")

    with pytest.raises(OSError, match="told"), CheckpointWriter() as writer:
        writer.begin(fails)
