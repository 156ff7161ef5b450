"""Who goes first and who waits, where trials share their past (D4): nothing is done twice, and nobody waits in vain."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from storage_cases import DEAD, ME, FakeWorker, count_queries, execute, make_move, make_plan, make_spec, open_study

from tuner.records import ClosePhase, Outcome, RunSpec
from tuner.storage.store import Store
from tuner.training.schedule import kept_steps

FRONTIER = [make_spec(steps, decay=20) for steps in (50, 80, 100)]
"""Budgets of one trunk, each with a decay of its own."""


def claim(store: Store) -> FakeWorker | None:
    found = store.claim("x", ME, share=True)
    return None if found is None else FakeWorker(store, found)


def claimed(store: Store) -> FakeWorker:
    worker = claim(store)
    assert worker is not None, "nothing may run"
    return worker


def train(worker: FakeWorker, until: int) -> FakeWorker:
    kept = kept_steps(worker.spec)
    return worker.train(until, checkpoints=sorted(kept), keep=sorted(kept))


def finish(store: Store, *, num_workers: int, order: random.Random) -> int:
    """Train all trials with several workers, ten steps at a time; how often one found nothing to do beside work."""
    workers: list[FakeWorker | None] = [None] * num_workers
    num_idle = 0
    while True:
        index = order.randrange(num_workers)
        worker = workers[index]
        if worker is None:
            found = claim(store)
            num_idle += found is None
            if found is None and not any(workers):
                return num_idle
            workers[index] = None if found is None else found.begin()
        elif worker.step < worker.spec.max_train_steps:
            train(worker, min(worker.step + 10, worker.spec.max_train_steps))
        else:
            worker.end()
            workers[index] = None


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
def test_runs_of_one_trunk_do_no_step_twice_with_however_many_workers(store: Store, seed: int) -> None:
    order = random.Random(seed)
    specs = [*FRONTIER, make_spec(50, rate=2e-3), make_spec(50, decay=30), make_spec(80, decay=20)]
    order.shuffle(specs)
    open_study(store, specs)
    finish(store, num_workers=3, order=order)
    assert all(trial.is_feasible for trial in store.load("x").trials())
    bill = store.bill("x")
    assert bill["recomputed"] == 0
    assert bill["executed"] == bill["stage_tree"]


def test_decays_of_other_shapes_leave_one_trunk_after_their_first_update(store: Store) -> None:
    linear = make_spec(100, decay=20)
    others = [replace(linear, schedule=replace(linear.schedule, decay_shape=shape)) for shape in ("1-sqrt", "cosine")]
    open_study(store, [linear, *others])
    finish(store, num_workers=1, order=random.Random(0))
    bill = store.bill("x")
    assert (bill["requested"], bill["executed"], bill["shared"], bill["recomputed"]) == (300, 81 + 3 * 19, 2 * 81, 0)


def test_studies_of_other_names_in_one_home_do_no_step_twice(store: Store) -> None:
    """What differs has not acted yet where they part: a longer plateau, another shape of the decay."""
    linear = make_spec(100, decay=20)
    other = replace(linear, schedule=replace(linear.schedule, decay_shape="1-sqrt"))
    open_study(store, [linear], name="y")
    train(FakeWorker.next(store, name="y").begin(), 100).end()
    open_study(store, [linear, make_spec(200, decay=20), other])
    finish(store, num_workers=1, order=random.Random(0))
    bill = store.bill("x")
    assert (bill["requested"], bill["executed"], bill["recomputed"]) == (400, 119 + 19, 0)
    assert bill["shared"] == 100 + 81 + 81


def test_trunk_with_more_dependants_goes_first(store: Store) -> None:
    open_study(store, [make_spec(100, rate=2e-3), make_spec(100, decay=20), *FRONTIER[:2]])
    assert [claimed(store).trial for _ in range(2)] == [3, 1]
    assert claim(store) is None


def test_trial_waits_for_the_running_one_that_makes_its_start_and_no_longer(store: Store) -> None:
    open_study(store, FRONTIER[:2])
    trunk = claimed(store).begin()
    assert claim(store) is None
    train(trunk, 31)
    branch = claimed(store).begin()
    assert (branch.trial, branch.step) == (2, 31)


@pytest.mark.parametrize("other", [make_spec(100, rate=2e-3), make_spec(100, every=7)], ids=["rate", "evaluations"])
def test_nobody_waits_where_nothing_can_be_shared(store: Store, other: RunSpec) -> None:
    open_study(store, [make_spec(100), other])
    assert [claimed(store).trial for _ in range(2)] == [1, 2]


def test_nobody_waits_for_a_state_that_is_there_already(store: Store) -> None:
    lease = open_study(store, [make_spec(100)])
    train(claimed(store).begin(), 100).end()
    store.apply(lease, make_move([make_spec(100), make_spec(100)], make_plan("round_1.2")))
    assert [claimed(store).begin().step for _ in range(2)] == [100, 100]


def test_without_sharing_all_run_at_once(store: Store) -> None:
    open_study(store, FRONTIER)
    assert [FakeWorker.next(store).trial for _ in FRONTIER] == [1, 2, 3]


def test_trunk_whose_worker_died_is_taken_up_before_its_dependants(store: Store) -> None:
    open_study(store, FRONTIER[:2])
    found = store.claim("x", DEAD, share=True)
    assert found is not None
    assert claimed(store).trial == found.trial.trial


def test_trunk_that_crashed_frees_its_dependants(store: Store) -> None:
    open_study(store, FRONTIER[:2])
    for _ in range(3):
        worker = claimed(store).begin()
        assert worker.trial == 1
        store.fail_trial(worker.lease, "boom")
    assert claimed(store).begin().step == 0


def test_trunk_that_was_stopped_frees_its_dependants(store: Store) -> None:
    open_study(store, FRONTIER[:2])
    train(claimed(store).begin(), 20).end("stopped", "dominated")
    assert claimed(store).trial == 2


def test_trunk_in_a_phase_that_was_closed_frees_its_dependants(store: Store) -> None:
    lease = open_study(store, FRONTIER[:1])
    store.apply(lease, make_move(FRONTIER[1:2], make_plan("round_1.2", steps=100)))
    trunk = claimed(store).begin()
    assert claim(store) is None
    outcomes = {trunk.trial: Outcome("stopped", "study_hours")}
    store.apply(lease, ClosePhase(phase="round_1", verdict="", reason="", outcomes=outcomes))
    assert claimed(store).trial == 2


def test_state_that_was_collected_or_lost_frees_its_dependants(store: Store) -> None:
    open_study(store, FRONTIER[:2])
    trunk = train(claimed(store).begin(), 31)
    execute(store, "DELETE FROM tuner_checkpoints")
    train(trunk, 50).end()
    assert claimed(store).begin().step == 0


def test_a_claim_asks_the_database_as_often_among_many_trials_as_among_two(store: Store) -> None:
    queries: list[str] = []
    open_study(store, [make_spec(1000, rate=1e-3 * (1 + number)) for number in range(200)])
    claimed(store)
    count_queries(store, queries)
    claimed(store)
    assert len(queries) < 12
