"""What may be removed and what must stay: rows before files, and no file whose row may still come."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from storage_cases import FakeWorker, execute, make_plan, make_spec, open_study, snapshot

from tuner.records import Answer, ClosePhase, Conclude
from tuner.storage.garbage import YOUNG_SECONDS, Collection, collect
from tuner.storage.store import Lease, Store
from tuner.storage.verify import inspect, verify


def age(path: Path, seconds: float = YOUNG_SECONDS + 60) -> Path:
    """Make a file look as old as that."""
    at = path.stat().st_mtime - seconds
    os.utime(path, (at, at))
    return path


def removed(found: Collection) -> set[str]:
    return {Path(garbage.path).name for garbage in found.removed}


def worker_and_folder(store: Store) -> tuple[FakeWorker, Path]:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(40, checkpoints=[20, 40])
    return worker, store.paths.resolve(store.checkpoints(worker.trial)[0].path).parent


def test_stored_checkpoints_stay_and_old_leftovers_go(store: Store) -> None:
    worker, folder = worker_and_folder(store)
    stored = sorted(folder.iterdir())
    leftovers = [".step-1.epoch-0.full.safetensors.ab.tmp", "step-1.epoch-0.full.safetensors", "x.safetensors.damaged"]
    for name in leftovers:
        (folder / name).write_bytes(b"1234")
        age(folder / name)
    for path in stored:
        age(path)
    before = snapshot(store)
    dry = collect(store, None, dry_run=True)
    assert removed(dry) == set(leftovers)
    assert dry.freed_bytes == 12
    assert (folder / leftovers[0]).exists()
    assert removed(collect(store, "x", dry_run=False)) == set(leftovers)
    assert sorted(folder.iterdir()) == stored
    assert snapshot(store) == before
    worker.train(100, checkpoints=[100]).end()


def test_a_young_file_is_left_alone(store: Store) -> None:
    _, folder = worker_and_folder(store)
    (folder / "step-000000060.epoch-0.full.safetensors").write_bytes(b"1")
    found = collect(store, None, dry_run=False)
    assert (found.removed, found.num_left_alone) == ((), 1)


def test_a_worker_stopped_for_hours_between_file_and_row_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is old by then and no row names it, but the epoch in its name may still write."""
    worker, _ = worker_and_folder(store)
    worker.train(60)
    add = Store.add_checkpoint

    def stopped_before_the_row(self: Store, lease: Lease, *files: object, **rest: object) -> None:
        (new,) = files
        age(self.paths.resolve(new.path))  # type: ignore[attr-defined]
        assert collect(self, None, dry_run=False).removed == ()
        add(self, lease, *files, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "add_checkpoint", stopped_before_the_row)
    path = worker.save("full")
    assert path.exists()
    assert all(check.is_clean for check in verify(store, inspect(store, "x")))


def test_the_file_of_a_worker_that_lost_its_trial_goes(store: Store) -> None:
    worker, folder = worker_and_folder(store)
    stray = folder / f"step-000000060.epoch-{worker.lease.epoch}.full.safetensors"
    stray.write_bytes(b"1")
    age(stray)
    store.release(worker.lease)
    FakeWorker.next(store).begin()
    assert removed(collect(store, None, dry_run=False)) == {stray.name}


def test_folders_of_studies_that_this_database_does_not_know_stay(store: Store) -> None:
    worker_and_folder(store)
    other = store.paths.home / "checkpoints" / "other-12345678" / "1"
    other.mkdir(parents=True)
    (other / "step-1.epoch-1.full.safetensors").write_bytes(b"1")
    age(other / "step-1.epoch-1.full.safetensors")
    found = collect(store, None, dry_run=False)
    assert (found.removed, found.unknown_folders) == ((), ("other-12345678",))
    assert list(other.iterdir())


def test_empty_folders_of_ended_trials_go_and_those_of_others_stay(store: Store) -> None:
    worker, folder = worker_and_folder(store)
    for path in folder.iterdir():
        path.unlink()
    assert collect(store, None, dry_run=False).removed == ()
    worker.end("infeasible", "diverged")
    assert removed(collect(store, None, dry_run=False)) == {folder.name}
    assert not folder.exists()


def test_tokens_that_a_killed_worker_left_half_written_go(store: Store) -> None:
    worker_and_folder(store)
    whole, half, fresh = (store.paths.data / name for name in ("a" * 64, ".tokens-old", ".tokens-new"))
    for path in (whole, half, fresh):
        path.mkdir(parents=True)
        (path / "train.npy").write_bytes(b"12")
    for path in (whole, half):
        age(path / "train.npy")
        age(path)
    found = collect(store, None, dry_run=False)
    assert (removed(found), found.freed_bytes) == ({".tokens-old"}, 2)
    assert whole.exists()
    assert fresh.exists()


@pytest.mark.parametrize("retention", ["extendable", "answer"])
def test_a_finished_study_keeps_what_its_retention_says(store: Store, retention: str) -> None:
    config = f'{{"execution":{{"retention":"{retention}"}}}}'
    lease = open_study(store, [make_spec(100), replace(make_spec(120), seed=1)], make_plan(steps=120))
    store.update_config("x", config)
    for steps in (100, 120):
        FakeWorker.next(store).begin().train(steps, checkpoints=[40, steps], keep=[40, steps]).end()
    store.apply(lease, ClosePhase(phase="round_1", verdict="v", reason="r"))
    before = {file.id for trial in (1, 2) for file in store.checkpoints(trial)}
    answer = Answer(
        max_train_steps=120,
        verdict="v",
        best_trial=2,
        best_step=120,
        best_value=8.8,
        metric="loss",
        params={},
        sharing="exact",
    )
    store.apply(lease, Conclude(answer=answer))
    store.release(lease)
    after = {file.id: file for trial in (1, 2) for file in store.checkpoints(trial)}
    if retention == "extendable":
        assert set(after) == before
    else:
        assert [(file.trial, file.global_step, file.kind) for file in after.values()] == [(2, 120, "weights")]
        files = [path for path in (store.paths.home / "checkpoints").rglob("*") if path.is_file()]
        assert [str(path.relative_to(store.paths.home)) for path in files] == [file.path for file in after.values()]
        assert execute(store, "SELECT * FROM tuner_pins") == []
    assert [finding for check in verify(store, inspect(store, "x")) for finding in check.findings] == []
    assert store.best_checkpoint(2) is not None


def test_what_another_study_forked_from_outlives_retention(store: Store) -> None:
    first = open_study(store, [make_spec(100)], name="first")
    FakeWorker.next(store, name="first").begin().train(100, checkpoints=[100]).end()
    second = open_study(store, [make_spec(120)])
    FakeWorker.next(store).begin().train(110)
    execute(
        store,
        "UPDATE tuner_studies SET config = :config WHERE name = 'first'",
        config='{"execution":{"retention":"answer"}}',
    )
    answer = Answer(
        max_train_steps=100,
        verdict="v",
        best_trial=1,
        best_step=100,
        best_value=9.0,
        metric="loss",
        params={},
        sharing="exact",
    )
    store.apply(first, ClosePhase(phase="round_1", verdict="v", reason="r"))
    store.apply(first, Conclude(answer=answer))
    assert {file.kind for file in store.checkpoints(1)} == {"full", "weights"}
    assert all(check.is_clean for name in ("first", "x") for check in verify(store, inspect(store, name)))
    store.release(second)
