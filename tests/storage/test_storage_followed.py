"""A study that is followed is the study as stored, whatever happened to it since it was read before."""

from __future__ import annotations

import random

import pytest
from storage_cases import FakeWorker, count_queries, execute, make_move, make_plan, make_spec, open_study

from tuner.records import ClosePhase, RaiseTarget
from tuner.storage.followed import FollowedStudy
from tuner.storage.store import Store


@pytest.mark.parametrize("seed", range(4))
def test_what_is_followed_is_what_is_stored(store: Store, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.followed.MAX_SINGLE", seed)
    draw, followed = random.Random(seed), FollowedStudy(store.database, "x")
    specs = [make_spec(60, rate=1e-3 * (1 + number)) for number in range(3)]
    lease = open_study(store, specs, make_plan("budget_sweep", steps=60, fit=0.0))
    for spec in specs:
        worker = FakeWorker.next(store).begin()
        worker.train(draw.choice((20, 40)), checkpoints=[10])
        assert followed.load() == store.load("x")
        if draw.random() < 0.5:
            # Back to step 10, whose evaluations alone stay.
            store.fail_trial(worker.lease, "boom")
            worker = FakeWorker.next(store).begin()
            assert followed.load() == store.load("x")
        worker.train(spec.max_train_steps, loss=lambda step: 5.0 + step)
        store.pause_trial(worker.lease, progress=worker.progress())
        assert followed.load() == store.load("x")
    trials = [trial.trial for trial in store.load("x").trials()]
    store.apply(lease, RaiseTarget(phase="budget_sweep", trials=tuple(trials[:2]), max_train_steps=95))
    assert followed.load() == store.load("x")
    FakeWorker.next(store).begin().train(95).end("complete", "fitted")
    close = ClosePhase(phase="budget_sweep", verdict="", reason="", truncate_at=draw.choice((30, 50)))
    store.apply(lease, close)
    assert followed.load() == store.load("x")
    store.apply(lease, make_move([make_spec(50)], make_plan("round_1", steps=50)))
    assert followed.load() == store.load("x")


def test_only_what_changed_is_fetched_again(store: Store) -> None:
    open_study(store, [make_spec(100, rate=1e-3 * (1 + number)) for number in range(4)])
    for _ in range(3):
        FakeWorker.next(store).begin().train(100).end()
    followed = FollowedStudy(store.database, "x")
    before = followed.load()
    # Nobody writes like this: if such a curve were read again, it would show.
    execute(store, "UPDATE tuner_evals SET value = -1.0")
    FakeWorker.next(store).begin().train(100).end()
    queries: list[str] = []
    count_queries(store, queries)
    after = followed.load()
    assert len([query for query in queries if query.startswith("SELECT")]) == 7
    assert [after.curves[trial.trial] for trial in before.trials()[:3]] == [
        before.curves[trial.trial] for trial in before.trials()[:3]
    ]
    assert after.curve(after.trials()[3].trial, "validation", "loss")[-1] == (100, 9.0)
