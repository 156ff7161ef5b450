"""Checkpoints are written while training goes on, and whatever ends an attempt has them written."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from in_process import Study

from tuner.errors import TryAgainLater
from tuner.storage.store import Store
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
            self.saved.append(snapshot.global_step)
            return whole(snapshot, path)

        monkeypatch.setattr(Snapshot, "save", save)


def test_training_goes_on_while_a_checkpoint_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Study(home / "plain")
    plain.run()
    disk, study = SlowDisk(monkeypatch), Study(home / "slow")
    seen: list[tuple[int, list[int]]] = []

    def at(trial: int, step: int) -> None:
        seen.append((step, list(disk.saved)))
        if step == 9:
            disk.goes_on.set()

    study.bench.on_progress = at
    study.run()
    # Checkpoints are due every 6 steps and evaluations every 3: the one at 6 was still being written at 9.
    assert (9, []) in seen
    assert disk.saved[-1] == 20
    assert study.results() == plain.results()


def test_a_checkpoint_that_is_late_takes_nothing_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, study = SlowDisk(monkeypatch), Study(home)
    steps: list[int] = []
    stored = Store.add_checkpoint

    def add_checkpoint(store: Store, *arguments: object, **more: object) -> None:
        before = study.trials()[0].last_step
        stored(store, *arguments, **more)  # type: ignore[arg-type]
        after = study.trials()[0]
        steps.append(before)
        assert after.last_step >= before
        assert after.steps_executed >= before

    monkeypatch.setattr(Store, "add_checkpoint", add_checkpoint)
    study.bench.on_progress = lambda trial, step: disk.goes_on.set() if step == 9 else None
    study.run()
    assert steps[0] == 9, "the state of step 6 got its row after the evaluation of step 9"


def test_an_interrupted_trial_has_its_checkpoint_before_it_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, study = SlowDisk(monkeypatch), Study(home)
    letting_go = threading.Timer(0.2, disk.goes_on.set)
    letting_go.start()
    assert study.stop_at(9) == "released"
    assert study.trials()[0].last_step == 9
    study.run()
    (bill,) = [study.store.bill("x")]
    assert bill["recomputed"] == 0, "it went on from where it was left"


def test_a_full_disk_is_told_at_the_next_checkpoint(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(home)

    def full(snapshot: Snapshot, path: Path) -> object:
        raise TryAgainLater("the disk is full: x could not be written; free some space", may_repeat=False)

    monkeypatch.setattr(Snapshot, "save", full)
    seen: list[int] = []
    study.bench.on_progress = lambda trial, step: seen.append(step)
    with pytest.raises(TryAgainLater, match="the disk is full"):
        study.step()
    assert seen[-1] == 12, "the checkpoint at 6 failed, the one at 12 was not begun"


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
