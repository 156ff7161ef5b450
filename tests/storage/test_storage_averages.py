"""Which averaged weights are kept, found again by forks and after a crash, and missed by `verify`."""

from __future__ import annotations

from storage_cases import FakeWorker, averaged_plan, execute, make_move, make_spec, open_study

from tuner.records import Answer, ClosePhase, Conclude
from tuner.storage.store import Store
from tuner.storage.verify import inspect, verify

AVERAGES = {
    3: {10: 9.0, 20: 5.0, 30: 6.0, 40: 6.0, 50: 4.0, 60: 8.0, 70: 8.0, 80: 8.0, 90: 8.0, 100: 8.0}.__getitem__,
    20: {10: 9.5, 20: 7.0, 30: 4.5, 40: 6.0, 50: 5.0, 60: 8.0, 70: 8.0, 80: 8.0, 90: 8.0, 100: 8.0}.__getitem__,
}


def problems(store: Store) -> list[str]:
    return [finding.problem for check in verify(store, inspect(store, "x")) for finding in check.findings]


def trunk(store: Store, *, keep: list[int]) -> FakeWorker:
    worker = FakeWorker.next(store).begin()
    return worker.train(100, averages=AVERAGES, checkpoints=range(10, 101, 10), keep=keep)


def test_best_averages_at_or_before_each_kept_full_state_are_kept(store: Store) -> None:
    open_study(store, [make_spec()], averaged_plan(3, 20))
    worker = trunk(store, keep=[20, 40])
    assert worker.kept("full") == [20, 40, 100]
    assert worker.kept("averaged") == [20, 30, 50]
    best = store.best_checkpoint(worker.trial, averaged=True)
    assert best is not None
    assert (best.kind, best.global_step) == ("averaged", 50)


def test_a_resume_finds_the_best_average_of_before_and_forgets_later_ones(store: Store) -> None:
    open_study(store, [make_spec()], averaged_plan(3, 20))
    worker = FakeWorker.next(store).begin().train(60, averages=AVERAGES, checkpoints=[40])
    assert worker.kept("averaged") == [30, 50]
    store.release(worker.lease)
    again = FakeWorker.next(store).begin()
    assert again.step == 40
    best = store.best_checkpoint(again.trial, averaged=True)
    assert best is not None
    assert best.global_step == 30


def test_a_fork_finds_its_best_average_in_the_shared_past_and_its_donor_cannot_drop_it(store: Store) -> None:
    lease = open_study(store, [make_spec(100, decay=20, fork_steps=(40,))], averaged_plan(3, 20))
    donor = trunk(store, keep=[40]).end()
    branch = make_spec(200, decay=150)
    store.apply(lease, make_move([branch], averaged_plan(3, 20, name="round_1.2", steps=200)))
    fork = FakeWorker.next(store).begin()
    assert fork.step == 40
    best = store.best_checkpoint(fork.trial, averaged=True)
    assert best is not None
    assert (best.trial, best.global_step) == (donor.trial, 30)
    assert (best.id, fork.trial) in execute(store, "SELECT checkpoint_id, trial_id FROM tuner_pins")


def test_weights_of_a_step_are_never_taken_from_its_average(store: Store) -> None:
    open_study(store, [make_spec()], averaged_plan(3, 20))
    worker = trunk(store, keep=[]).end()
    execute(store, "UPDATE tuner_trials SET best_step = 50")
    assert store.best_checkpoint(worker.trial) is None
    assert any("weights of its best step, 50, are not there" in problem for problem in problems(store))


def test_a_lost_average_is_missed_and_a_row_that_was_not_finite_is_not(store: Store) -> None:
    open_study(store, [make_spec()], averaged_plan(3, 20))
    worker = trunk(store, keep=[]).end()
    assert problems(store) == []
    execute(store, "DELETE FROM tuner_evals WHERE split = 'validation_averaged_3' AND global_step = 60")
    assert problems(store) == []
    best = store.best_checkpoint(worker.trial, averaged=True)
    assert best is not None
    store.paths.resolve(best.path).unlink()
    assert "the averaged weights of its best step, 50, are not there" in problems(store)


def test_retention_keeps_the_leaders_best_averages(store: Store) -> None:
    lease = open_study(store, [make_spec()], averaged_plan(3, 20))
    worker = trunk(store, keep=[20, 40]).end()
    execute(store, "UPDATE tuner_studies SET config = :config", config='{"execution":{"retention":"answer"}}')
    store.apply(lease, ClosePhase(phase="round_1", verdict="adequate", reason="r"))
    answer = Answer(
        max_train_steps=100,
        verdict="adequate",
        best_trial=worker.trial,
        best_step=100,
        best_value=9.0,
        metric="loss",
        params={},
        sharing="exact",
    )
    store.apply(lease, Conclude(answer=answer))
    store.release(lease)
    kept = {(file.kind, file.global_step) for file in store.checkpoints(worker.trial)}
    assert kept == {("weights", 100), ("averaged", 50)}
    assert problems(store) == []
