"""Leases: one owner at a time, by the database's clock, under a growing epoch (D4, D6)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from storage_cases import DEAD, ELSEWHERE, ME, FakeWorker, execute, make_spec, open_study, snapshot

from tuner.errors import LeaseLost, StudyError
from tuner.records import ClosePhase, Evaluation, GiveUp, Outcome
from tuner.storage.store import Owner, Progress, Store

EXPIRE = "UPDATE tuner_trials SET lease_expires = 0"


def test_trials_are_claimed_in_order_of_their_number_and_each_once(store: Store) -> None:
    open_study(store, [make_spec(), make_spec(rate=2e-3)])
    first, second = store.claim("x", ME), store.claim("x", ME)
    assert first is not None
    assert second is not None
    assert [first.trial.number, second.trial.number] == [0, 1]
    assert first.trial.state == "running"
    assert (first.study, first.phase.name, first.lease.epoch) == ("x", "round_1", 1)
    assert store.claim("x", ME) is None


def test_racing_workers_get_each_trial_exactly_once(store: Store) -> None:
    open_study(store, [make_spec(rate=1e-4 * (1 + number)) for number in range(50)])
    claimed: list[int] = []

    def work() -> None:
        while (claim := store.claim("x", ME)) is not None:
            claimed.append(claim.trial.number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(50))


def test_trial_of_a_provably_dead_worker_is_claimed_at_once(store: Store) -> None:
    open_study(store, [make_spec()])
    lost = FakeWorker.next(store, owner=DEAD).begin().train(30)
    again = FakeWorker.next(store)
    assert again.trial == lost.trial
    assert again.lease.epoch == 2
    assert execute(store, "SELECT how_ended FROM tuner_attempts") == [("died",)]


@pytest.mark.parametrize("owner", [ME, ELSEWHERE], ids=["here", "on another host"])
def test_trial_of_a_living_or_unknown_worker_is_left_alone_until_its_lease_expires(store: Store, owner: Owner) -> None:
    open_study(store, [make_spec()])
    FakeWorker.next(store, owner=owner)
    assert store.claim("x", ME) is None
    execute(store, EXPIRE)
    assert store.claim("x", ME) is not None


def test_renewed_lease_outlives_its_first_expiry(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store, owner=ELSEWHERE)
    execute(store, EXPIRE)
    store.renew(worker.lease, seconds=90)
    assert store.claim("x", ME) is None


def _writes(worker: FakeWorker) -> dict[str, Callable[[], object]]:
    store, lease, progress = worker.store, worker.lease, Progress(to_step=50)
    return {
        "renew": lambda: store.renew(lease),
        "release": lambda: store.release(lease),
        "begin": worker.begin,
        "evaluate": lambda: store.record_evaluation(
            lease, [Evaluation(50, "validation", "loss", 1.0)], eval_key="e", progress=progress
        ),
        "checkpoint": lambda: worker.save("full"),
        "pause": lambda: store.pause_trial(lease, progress=progress),
        "end": lambda: store.end_trial(lease, Outcome("complete"), weights_digest="w", progress=progress),
        "fail": lambda: store.fail_trial(lease, "boom"),
    }


@pytest.mark.parametrize("write", ["renew", "release", "begin", "evaluate", "checkpoint", "pause", "end", "fail"])
def test_worker_that_lost_its_lease_can_change_nothing(store: Store, write: str) -> None:
    open_study(store, [make_spec()])
    stale = FakeWorker.next(store, owner=ELSEWHERE).begin().train(30, checkpoints=[20])
    execute(store, EXPIRE)
    FakeWorker.next(store).begin()
    before = snapshot(store)
    with pytest.raises(LeaseLost):
        _writes(stale)[write]()
    assert snapshot(store) == before


def test_released_trial_waits_and_its_old_lease_is_void(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(20)
    store.release(worker.lease)
    assert worker.record().state == "waiting"
    assert execute(store, "SELECT how_ended, to_step FROM tuner_attempts") == [("released", 20)]
    with pytest.raises(LeaseLost):
        store.renew(worker.lease)


def test_third_failure_without_a_new_checkpoint_ends_a_trial_as_crashed(store: Store) -> None:
    open_study(store, [make_spec()])
    states = []
    for _ in range(3):
        worker = FakeWorker.next(store).begin().train(20)
        states.append(store.fail_trial(worker.lease, "RuntimeError: out of memory\ntraceback"))
    assert states == ["waiting", "waiting", "ended"]
    outcome = worker.record().outcome
    assert outcome == Outcome("crashed", "3 times without a new checkpoint: RuntimeError: out of memory")
    assert worker.record().attempts == 3


def test_new_checkpoint_forgives_earlier_failures(store: Store) -> None:
    open_study(store, [make_spec()])
    for until in (10, 20, 30, 40):
        worker = FakeWorker.next(store).begin().train(until, checkpoints=[until])
        assert store.fail_trial(worker.lease, "boom") == "waiting"


def test_worker_that_kills_itself_three_times_under_a_living_planner_ends_its_trial(store: Store) -> None:
    lease = open_study(store, [make_spec(), make_spec(rate=2e-3)])
    first = FakeWorker.next(store, owner=DEAD).begin()
    second = FakeWorker.next(store, owner=DEAD)
    assert second.trial == first.trial
    third = FakeWorker.next(store, owner=DEAD)
    assert store.note_death(lease, DEAD.pid) == third.trial
    assert third.record().outcome == Outcome("crashed", "3 times without a new checkpoint: its worker process died")
    assert FakeWorker.next(store).claim.trial.number == 1


def test_death_of_the_whole_process_group_never_counts(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    for _ in range(5):
        worker = FakeWorker.next(store, owner=DEAD).begin()
        execute(store, "UPDATE tuner_studies SET lease_owner = :owner", owner=json.dumps(_fields(DEAD)))
        lease = store.acquire_planner("x", ME)
        assert worker.record().state == "waiting"
    assert lease.epoch == 6
    assert execute(store, "SELECT num_deaths FROM tuner_trials") == [(0,)]


@pytest.mark.parametrize("owner", [DEAD, ELSEWHERE], ids=["dead, but so is the planner", "out of reach"])
def test_worker_that_nobody_saw_die_is_replaced_without_counting(store: Store, owner: Owner) -> None:
    lease = open_study(store, [make_spec()])
    store.release(lease)
    store.acquire_planner("x", owner)
    for _ in range(5):
        FakeWorker.next(store, owner=owner).begin()
        execute(store, EXPIRE)
    assert FakeWorker.next(store).record().outcome is None
    assert execute(store, "SELECT num_deaths FROM tuner_trials") == [(0,)]


def test_death_of_a_worker_that_an_earlier_planner_or_nobody_started_never_counts(store: Store) -> None:
    open_study(store, [make_spec()])
    for parent in ("1/1", "", ME.parent):
        FakeWorker.next(store, owner=replace(DEAD, parent=parent)).begin()
    assert FakeWorker.next(store).record().outcome is None
    assert execute(store, "SELECT num_deaths FROM tuner_trials") == [(0,)]


def test_noting_the_death_of_a_worker_that_lives_changes_nothing(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    FakeWorker.next(store)
    before = snapshot(store)
    assert store.note_death(lease, ME.pid) is None
    assert snapshot(store) == before


def test_second_planner_is_refused_by_name_and_pid(store: Store) -> None:
    open_study(store, [make_spec()])
    assert store.is_running("x")
    with pytest.raises(StudyError, match=rf"study 'x' is being run by pid {ME.pid} on .* since 20.*tuner status x"):
        store.acquire_planner("x", ME)


def test_planner_that_gave_its_lease_back_or_died_or_expired_is_replaced(store: Store) -> None:
    lease = open_study(store, [make_spec()])
    store.release(lease)
    assert not store.is_running("x")
    store.acquire_planner("x", DEAD)
    assert not store.is_running("x")
    store.acquire_planner("x", ELSEWHERE)
    assert store.is_running("x")
    execute(store, "UPDATE tuner_studies SET lease_expires = 0")
    assert store.acquire_planner("x", ME).epoch == 4


def test_planner_that_lost_its_study_can_change_nothing(store: Store) -> None:
    stale = open_study(store, [make_spec()])
    store.release(stale)
    store.acquire_planner("x", ME)
    before = snapshot(store)
    for write in (
        lambda: store.apply(stale, GiveUp(reason="no")),
        lambda: store.set_state(stale, "finished"),
        lambda: store.record_test_value(stale, 1, [Evaluation(1, "test", "loss", 1.0)]),
        lambda: store.note_death(stale, 1),
        lambda: store.release(stale),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert snapshot(store) == before


def test_trials_of_a_closed_phase_are_not_claimed_and_their_workers_are_fenced_out(store: Store) -> None:
    lease = open_study(store, [make_spec(), make_spec(rate=2e-3)])
    worker = FakeWorker.next(store).begin()
    outcomes = {worker.trial: Outcome("stopped", "dominated")}
    store.apply(lease, ClosePhase(phase="round_1", verdict="done", reason="", outcomes=outcomes))
    assert store.claim("x", ME) is None
    with pytest.raises(LeaseLost):
        worker.train(10)


def test_killed_process_is_provably_dead_even_before_its_parent_collects_it() -> None:
    code = (
        "import dataclasses, json, sys; from tuner.storage.owners import Owner;"
        "print(json.dumps(dataclasses.asdict(Owner.of_this_process('child'))), flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with child:
        assert child.stdout is not None
        owner = Owner(**json.loads(child.stdout.readline()))
        assert not owner.is_provably_dead()
        assert not replace(owner, host_boot_id="elsewhere", process_started="0").is_provably_dead()
        child.kill()
        # Its parent has not waited for it yet: a zombie holds its number, but writes nothing.
        while not owner.is_provably_dead():
            assert child.returncode is None
    assert owner.is_provably_dead()


def _fields(owner: Owner) -> dict[str, object]:
    return {name: getattr(owner, name) for name in owner.__dataclass_fields__}
