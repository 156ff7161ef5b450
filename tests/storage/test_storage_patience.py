"""A database that others hold: waited for, told once, given up after a time; what is let go costs nothing but time."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from storage_cases import FakeWorker, execute, make_spec, open_study

from tuner.errors import TryAgainLater
from tuner.storage.database import WRITERS_LOCK
from tuner.storage.patience import Patience
from tuner.storage.store import Store

HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.database.BUSY_SECONDS", 0.02)
    monkeypatch.setattr("tuner.storage.patience.PAUSE_SECONDS", 0.01)


@contextmanager
def held(home: Path, how: str) -> Iterator[Callable[[], None]]:
    """The database locked by another process, until that is told to let go."""
    arguments = [sys.executable, "-c", HOLDER, str(home / "tuner.db"), how]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"

        def let_go() -> None:
            process.communicate("\n")

        try:
            yield let_go
        finally:
            process.kill()


@pytest.mark.parametrize("how", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_lock_that_another_process_lets_go_costs_nothing_but_time(home: Path, how: str) -> None:
    told: list[str] = []
    store = Store.open(None, home)
    open_study(store, [make_spec()])
    with held(home, how) as let_go:

        def hear(line: str) -> None:
            told.append(line)
            let_go()  # It is waited for: now it may come back.

        store.patience.on_wait = hear
        worker = FakeWorker.next(store).begin().train(30, checkpoints=[20]).end()
    assert worker.record().last_step == 30
    assert told == [f"database {home}/tuner.db is held by others; waiting for at most 60 s"]


def test_reader_waits_too_and_gives_up_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.patience.PATIENCE_SECONDS", 0.2)
    Store.open(None, home).close()
    told: list[str] = []
    with held(home, "BEGIN EXCLUSIVE"):
        with pytest.raises(TryAgainLater, match=r"is held by others; nothing was lost, run the command again") as late:
            Store.open(None, home, create=False, patience=Patience(on_wait=told.append))
        assert len(str(late.value).splitlines()) == len(told) == 1


def test_commit_that_a_reader_holds_up_is_asked_for_again(store: Store, home: Path) -> None:
    if not store._database.is_sqlite:
        pytest.skip("readers hold nobody up there")
    open_study(store, [make_spec()])
    with closing(sqlite3.connect(home / "tuner.db", isolation_level=None, check_same_thread=False)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM tuner_studies").fetchall()
        store.patience.on_wait = lambda line: reader.execute("ROLLBACK") and None
        FakeWorker.next(store)
    assert execute(store, "SELECT state, lease_epoch FROM tuner_trials") == [("running", 1)]


def test_after_the_time_is_over_nobody_waits_until_it_works_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.patience.PATIENCE_SECONDS", 0)
    store, told = Store.open(None, home), []
    store.patience.on_wait = told.append
    attempts: list[float] = []
    monkeypatch.setattr("tuner.storage.patience.time.sleep", attempts.append)
    with held(home, "BEGIN IMMEDIATE") as let_go:
        for _ in range(3):
            with pytest.raises(TryAgainLater):
                store.create_study("x", config="{}", folder="", command="")
        assert len(attempts) <= 1
        let_go()
    store.create_study("x", config="{}", folder="", command="")
    assert store.study_names() == ["x"]
    assert store.patience._since == {}


def test_an_interrupted_wait_ends_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(None, home)
    monkeypatch.setattr("tuner.storage.patience.PATIENCE_SECONDS", 1e9)
    asked = iter([False, False, True])
    store.patience.is_over = lambda: next(asked)
    with held(home, "BEGIN IMMEDIATE"), pytest.raises(TryAgainLater):
        store.create_study("x", config="{}", folder="", command="")


def test_work_that_met_a_full_disk_is_done_again_and_once(store: Store) -> None:
    open_study(store, [make_spec()])
    room = iter([False, False, True])

    def in_one_transaction() -> None:
        with store._database.write() as connection:
            connection.execute(text("UPDATE tuner_studies SET folder = folder || 'x'"))
            if not next(room):
                raise OSError(28, "No space left on device")

    store.patience.work(in_one_transaction)
    assert execute(store, "SELECT folder FROM tuner_studies") == [("studiesx",)]


def test_what_may_have_left_a_trace_is_not_done_again() -> None:
    times: list[int] = []

    def once() -> None:
        times.append(1)
        raise TryAgainLater("database x is away; nothing was lost", may_repeat=False)

    with pytest.raises(TryAgainLater):
        Patience().work(once)
    assert len(times) == 1


def test_lease_that_expired_while_nobody_could_write_goes_on(store: Store) -> None:
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin().train(20)
    execute(store, "UPDATE tuner_trials SET lease_expires = 0")
    store.renew(worker.lease)
    worker.train(100).end()
    assert worker.record().outcome.kind == "complete"


def test_writer_that_never_lets_go_is_not_waited_for_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.patience.PATIENCE_SECONDS", 0.1)
    if store._database.is_sqlite:
        pytest.skip("see the tests with a lock of SQLite's")
    with store._database._engine.begin() as other:
        other.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS_LOCK})
        with pytest.raises(TryAgainLater, match="is held by others"):
            store.create_study("x", config="{}", folder="", command="")
    store.create_study("x", config="{}", folder="", command="")


def test_server_that_cuts_its_connections_is_asked_again(store: Store) -> None:
    if store._database.is_sqlite:
        pytest.skip("there is no server")
    open_study(store, [make_spec()])
    cuts = iter([True, True, False])

    def cut_in_the_midst() -> None:
        with store._database.write() as connection:
            connection.execute(text("UPDATE tuner_studies SET folder = folder || 'x'"))
            if next(cuts):
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    store.patience.work(cut_in_the_midst)
    assert execute(store, "SELECT folder FROM tuner_studies") == [("studiesx",)]
