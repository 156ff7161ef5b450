"""Which checkpoints are kept: enough to resume, to fork as planned and to export the best, and no more."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from storage_cases import FakeWorker, execute, make_spec, open_study

from tuner.errors import HomeError
from tuner.storage.store import Store


def test_only_the_newest_and_the_reserved_full_states_are_kept(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(100, checkpoints=range(10, 101, 10), keep=[30, 100])
    assert worker.kept("full") == [30, 100]
    worker.end()
    assert worker.kept("full") == [30, 100]


def test_best_weights_at_or_before_each_kept_full_state_are_kept(store: Store) -> None:
    open_study(store, [make_spec()])
    losses = dict(zip(range(10, 101, 10), (9.0, 8.0, 8.5, 7.0, 7.5, 6.0, 6.5, 5.0, 5.5, 5.2), strict=True))
    worker = FakeWorker.next(store).begin()
    worker.train(100, loss=losses.__getitem__, checkpoints=range(10, 101, 10), keep=[30, 50])
    assert worker.kept("full") == [30, 50, 100]
    assert worker.kept("weights") == [20, 40, 80]


def test_files_are_deleted_with_their_rows_and_never_before(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(40, checkpoints=[20, 40])
    folder = store.paths.checkpoint("x", worker.trial, global_step=0, kind="full", epoch=1).parent
    on_disk = sorted(str(file.relative_to(store.paths.home)) for file in folder.iterdir())
    assert on_disk == sorted(row.path for row in store.checkpoints(worker.trial))


def test_best_checkpoint_falls_back_on_a_full_state_and_says_when_nothing_was_kept(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(40, checkpoints=[40])
    execute(store, "DELETE FROM tuner_checkpoints WHERE kind = 'weights'")
    best = store.best_checkpoint(worker.trial)
    assert best is not None
    assert (best.kind, best.global_step, best.weights_digest) == ("full", 40, "w40")
    execute(store, "DELETE FROM tuner_checkpoints")
    assert store.best_checkpoint(worker.trial) is None


def test_database_itself_refuses_to_drop_what_a_fork_needs(store: Store) -> None:
    open_study(store, [make_spec(), make_spec()])
    FakeWorker.next(store).begin().train(50, checkpoints=[50])
    assert FakeWorker.next(store).begin().step == 50
    with pytest.raises(IntegrityError):
        execute(store, "DELETE FROM tuner_checkpoints WHERE kind = 'full'")


def test_path_that_leaves_the_home_folder_is_refused(store: Store) -> None:
    open_study(store, [make_spec(), make_spec()])
    FakeWorker.next(store).begin().train(50, checkpoints=[50])
    execute(store, "UPDATE tuner_checkpoints SET path = '../../../etc/passwd' WHERE kind = 'full'")
    with pytest.raises(HomeError, match="leaves the home folder"):
        FakeWorker.next(store).begin()


def test_checkpoint_before_the_attempt_began_is_a_bug_that_is_named(store: Store) -> None:
    open_study(store, [make_spec()])
    with pytest.raises(ValueError, match="call begin_attempt"):
        FakeWorker.next(store).save("full")


def test_the_newest_states_are_kept_up_to_the_limit_and_one_that_is_damaged_costs_one_interval(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin()
    for step in (20, 40, 60, 80):
        worker.train(step, keep=[20]).save("full", keep=[20], save_total_limit=2)
    assert worker.kept("full") == [20, 60, 80]
    store.paths.resolve(store.checkpoints(worker.trial)[-1].path).unlink()
    store.release(worker.lease)
    assert FakeWorker.next(store).begin().step == 60
