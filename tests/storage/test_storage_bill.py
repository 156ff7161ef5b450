"""The bill: executed = stage_tree + recomputed + overshoot, on cases counted by hand (PROTOCOL.md 8)."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from storage_cases import DEAD, ME, FakeWorker, execute, make_move, make_plan, make_spec, open_study

from tuner.records import ClosePhase, RunSpec
from tuner.storage.bill import Path, distinct_steps
from tuner.storage.idle import record_idle
from tuner.storage.store import Store


def _steps(store: Store, name: str = "x") -> dict[str, Any]:
    bill = store.bill(name)
    assert bill["executed"] == bill["stage_tree"] + bill["recomputed"] + bill["overshoot"]
    return {account: steps for account, steps in bill.items() if account != "seconds"}


def _expect(
    requested: int, executed: int, shared: int, recomputed: int, overshoot: int, stage_tree: int
) -> dict[str, int]:
    return {
        "requested": requested,
        "executed": executed,
        "shared": shared,
        "recomputed": recomputed,
        "overshoot": overshoot,
        "stage_tree": stage_tree,
    }


def test_study_that_has_not_begun_has_spent_nothing(store: Store) -> None:
    open_study(store, [make_spec()])
    assert _steps(store) == _expect(0, 0, 0, 0, 0, 0)


def test_what_was_spent_is_the_sum_over_all_attempts(store: Store) -> None:
    open_study(store, [make_spec()])
    assert store.measured("x").seconds_per_step is None
    worker = FakeWorker.next(store).begin().train(50, checkpoints=[40])
    store.fail_trial(worker.lease, "boom")
    FakeWorker.next(store).begin().train(100).end()
    spent, bill = store.measured("x"), store.bill("x")
    assert spent.num_steps == bill["executed"] == 110
    assert spent.worker_seconds == pytest.approx(sum(bill["seconds"].values()))
    assert spent.seconds_per_step == pytest.approx(spent.worker_seconds / 110)


def test_time_in_which_nobody_worked_does_not_count(store: Store) -> None:
    open_study(store, [make_spec(), make_spec(rate=2e-3)])
    first, second = FakeWorker.next(store).begin(), FakeWorker.next(store).begin()
    first.train(100).end()
    second.train(50).end()
    # Both began at the same time: 100 seconds of one cover 50 of the other. A day later one works 10 seconds more.
    assert store.elapsed_seconds("x") == pytest.approx(100, abs=1.1)
    at = "UPDATE tuner_attempts SET started_at = '2030-01-02T00:00:00Z', seconds_train = 10 WHERE trial_id = "
    execute(store, f"{at} (SELECT max(trial_id) FROM tuner_attempts)")
    assert store.elapsed_seconds("x") == pytest.approx(110, abs=1.1)


def test_rework_after_a_crash_is_recomputed(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(50, checkpoints=[40])
    store.fail_trial(worker.lease, "boom")
    FakeWorker.next(store).begin().train(100).end()
    assert _steps(store) == _expect(100, 110, 0, 10, 0, 100)


def _fork(store: Store, *, share: bool) -> None:
    lease = open_study(store, [make_spec(100, decay=20)])
    FakeWorker.next(store).begin().train(100, checkpoints=[80, 100], keep=[80]).end()
    store.apply(lease, make_move([make_spec(200, decay=20)], make_plan("round_1.2", steps=200)))
    FakeWorker.next(store).begin(share=share).train(200).end()


def test_forked_steps_are_shared(store: Store) -> None:
    # The first update of a linear decay still runs at the peak: the recipes agree for 81 steps, one more than forked.
    _fork(store, share=True)
    assert _steps(store) == _expect(300, 220, 80, 1, 0, 219)


def test_without_sharing_the_same_steps_are_recomputed(store: Store) -> None:
    _fork(store, share=False)
    assert _steps(store) == _expect(300, 300, 0, 81, 0, 219)


def test_steps_beyond_the_exact_stop_are_overshoot(store: Store) -> None:
    lease = open_study(store, [make_spec(), make_spec(rate=2e-3)], make_plan("budget_sweep", fit=0.0))
    FakeWorker.next(store).begin().train(40).end("complete", "fitted")
    worker = FakeWorker.next(store).begin().train(30, checkpoints=[20])
    store.fail_trial(worker.lease, "boom")
    FakeWorker.next(store).begin().train(60).end("stopped", "dominated")
    store.apply(lease, ClosePhase(phase="budget_sweep", verdict="", reason="", truncate_at=40))
    assert _steps(store) == _expect(80, 40 + 30 + 40, 0, 10, 20, 80)


def test_work_of_another_study_is_shared_and_not_in_this_one_s_tree(store: Store) -> None:
    open_study(store, [make_spec()])
    FakeWorker.next(store).begin().train(100, checkpoints=[60], keep=[60]).end()
    open_study(store, [make_spec()], name="y")
    FakeWorker.next(store, name="y").begin().train(100).end()
    assert _steps(store, "y") == _expect(100, 40, 60, 0, 0, 40)


def test_same_recipe_on_other_numerics_is_other_work(store: Store) -> None:
    open_study(store, [make_spec(), make_spec()])
    FakeWorker.next(store).begin().train(100, checkpoints=[100]).end()
    FakeWorker.next(store, numerics_key="cuda").begin().train(100).end()
    assert _steps(store) == _expect(200, 200, 0, 0, 0, 200)


def test_idle_time_is_the_sum_of_all_workers_totals_and_survives_them(store: Store) -> None:
    open_study(store, [make_spec()])
    open_study(store, [make_spec()], name="y")
    for seconds in (3.0, 5.0):
        record_idle(store.database, "x", ME, seconds=seconds)
    record_idle(store.database, "x", DEAD, seconds=1.5)
    record_idle(store.database, "y", ME, seconds=100.0)
    assert store.bill("x")["seconds"]["idle"] == 6.5
    # What nobody trained in counts neither as spent nor as elapsed: limits and forecasts are of work.
    assert store.measured("x").worker_seconds == store.elapsed_seconds("x") == 0.0


def test_seconds_of_attempts_are_kept_in_four_accounts(store: Store) -> None:
    open_study(store, [make_spec()])
    FakeWorker.next(store).begin().train(100).end()
    execute(store, "UPDATE tuner_attempts SET seconds_eval = 2.5")
    assert store.bill("x")["seconds"] == {"train": 100.0, "eval": 2.5, "checkpoint": 0.0, "setup": 0.0, "idle": 0.0}


@pytest.mark.parametrize("seed", range(20))
def test_tree_size_equals_the_number_of_distinct_prefixes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.bill.CHUNK_STEPS", 3)
    draw = random.Random(seed)
    runs = {rate: [draw.choice((1.0, 1.0, 2.0)) for _ in range(draw.randint(1, 9))] for rate in range(6)}

    def rates(spec: RunSpec, start: int, stop: int) -> bytes:
        import numpy as np

        return np.array(runs[int(spec.learning_rate)][start:stop]).tobytes()

    paths = [Path("s", make_spec(rate=rate), len(run)) for rate, run in runs.items()]
    prefixes = {tuple(run[:length]) for run in runs.values() for length in range(1, len(run) + 1)}
    assert distinct_steps(paths, rates) == len(prefixes)
    assert distinct_steps(itertools.chain(paths, [Path("t", paths[0].spec, 1)]), rates) == len(prefixes) + 1
