"""Opening a home folder: what is refused, in one line, and what any number of processes may do at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import storage_cases
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from storage_cases import ME, FakeWorker, execute, make_spec, open_study

from tuner.errors import HomeError, TryAgainLater
from tuner.storage.database import Database, _explain, parse_url
from tuner.storage.file_system import refuse_network_file_system
from tuner.storage.store import Store
from tuner.storage.tables import metadata
from tuner.storage.upgrade import SCHEMA_VERSION, VERSION_TABLE, migrations_config

RELEASED = Path(__file__).parent / "released"


def _open(home: Path, url: str | None = None, *, create: bool = True) -> None:
    Store.open(url, home, create=create).close()


def test_home_and_database_are_private_to_their_owner(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "runs"
    _open(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "tuner.db").stat().st_mode) == 0o600


def test_every_commit_is_on_disk_before_it_is_told(tmp_path: Path) -> None:
    store = Store.open(None, tmp_path)
    settings = {
        name: execute(store, f"PRAGMA {name}")
        for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    }
    assert settings == {
        "journal_mode": [("delete",)],
        "synchronous": [(3,)],
        "foreign_keys": [(1,)],
        "busy_timeout": [(5_000,)],
    }


def test_reader_of_an_empty_place_creates_nothing(tmp_path: Path) -> None:
    home = tmp_path / "runs"
    with pytest.raises(HomeError, match=r"no studies in .*runs/ yet; start one with `tuner run STUDY.yaml`"):
        _open(home, create=False)
    assert not home.exists()


def test_file_in_place_of_the_home_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(HomeError, match=r"--home .*runs is a file; it must be a folder"):
        _open(tmp_path / "runs")


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that others can reach, and a process without root's power to write everywhere."""
    folder = Path(tempfile.mkdtemp(prefix="tuner-test-"))
    folder.chmod(0o755)
    is_root = os.geteuid() == 0
    yield folder
    if is_root:
        os.seteuid(0)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700)
    shutil.rmtree(folder)


def _lose_power() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


@pytest.mark.skipif(os.name != "posix", reason="file permissions of POSIX")
def test_read_only_home_is_refused_for_writing_and_fine_for_reading(as_nobody: Path) -> None:
    home = as_nobody / "runs"
    home.mkdir(mode=0o755)
    _open(home)
    (home / "tuner.db").chmod(0o444)
    home.chmod(0o555)
    _lose_power()
    with pytest.raises(HomeError, match=r"--home .* cannot be written; change its permissions"):
        _open(home)
    with pytest.raises(HomeError, match=r"--home .*new cannot be created \(Permission denied\)"):
        _open(home / "new")
    store = Store.open(None, home, create=False)
    assert store.study_names() == []
    with pytest.raises(HomeError, match=r"tuner.db is read-only; change its permissions"):
        store.create_study("x", config="{}", folder="", command="")


def test_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "tuner.db"
    file.write_text("my notes, nothing else\n" * 100)
    before = file.read_bytes()
    for create in (True, False):
        with pytest.raises(HomeError, match=r"tuner.db is not a SQLite database; move that file away"):
            _open(tmp_path, create=create)
    assert file.read_bytes() == before


def test_database_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    store = Store.open(None, tmp_path)
    execute(store, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    before = (tmp_path / "tuner.db").read_bytes()
    for create in (True, False):
        with pytest.raises(HomeError, match=r"has schema 9999, but tuner .* knows schemas up to .*; update tuner"):
            _open(tmp_path, create=create)
    assert (tmp_path / "tuner.db").read_bytes() == before


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/x", "mysql is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("runs.db", "is not a database URL"),
    ],
)
def test_storage_that_cannot_hold_a_study_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(HomeError, match=message):
        _open(tmp_path, url)


def test_postgresql_is_reached_through_psycopg_3() -> None:
    assert parse_url("postgresql://me:secret@host/db").drivername == "postgresql+psycopg"


def test_sqlite_file_elsewhere_is_used_as_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    store = Store.open(url, tmp_path / "runs")
    assert make_url(store.url).database == str(tmp_path / "other.db")
    assert not (tmp_path / "runs" / "tuner.db").exists()
    with pytest.raises(HomeError, match=r"cannot be written \(No such file or directory\)"):
        _open(tmp_path / "runs", f"sqlite:///{tmp_path / 'missing' / 'other.db'}")


def test_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self: f"30 21 0:5 / {tmp_path} rw shared:1 - nfs4 server:/x rw\n")
    with pytest.raises(HomeError, match=r"network file system \(nfs4\), where SQLite's locks fail; use a local disk"):
        refuse_network_file_system(tmp_path / "tuner.db")


def test_database_held_by_another_writer_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.storage.database.BUSY_SECONDS", 0.05)
    monkeypatch.setattr("tuner.storage.patience.PATIENCE_SECONDS", 0)
    monkeypatch.setattr("tuner.storage.patience.PAUSE_SECONDS", 0.01)
    store = Store.open(None, tmp_path)
    with sqlite3.connect(tmp_path / "tuner.db") as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TryAgainLater, match="is held by others"):
            store.create_study("x", config="{}", folder="", command="")
    other.close()


def test_full_disk_is_tried_again_later_and_loses_nothing(tmp_path: Path) -> None:
    store = Store.open(None, tmp_path)
    store.create_study("x", config="{}", folder="", command="")

    def fill() -> None:
        with store._database.write() as connection:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
            connection.exec_driver_sql("UPDATE tuner_studies SET config = ?", ("x" * 1_000_000,))

    with pytest.raises(TryAgainLater, match="the disk is full"):
        fill()
    assert store.study("x").config == "{}"


def test_processes_that_start_at_once_share_one_upgrade(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tuner.storage.store import Store; sys.stdin.readline();"
        "store = Store.open(None, Path(sys.argv[1]) / 'runs');"
        "store.create_study(sys.argv[2], config='', folder='', command='')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, str(tmp_path), f"study {number}"],
            stdin=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0, 0]
    store = Store.open(None, tmp_path / "runs", create=False)
    assert sorted(store.study_names()) == ["study 0", "study 1", "study 2"]


def test_racing_processes_get_each_trial_exactly_once(tmp_path: Path) -> None:
    store = Store.open(None, tmp_path)
    open_study(store, [make_spec(rate=1e-4 * (1 + number)) for number in range(50)])
    code = (
        "import sys; from pathlib import Path; from tuner.storage.store import *;"
        "store = Store.open(None, Path(sys.argv[1])); me = Owner.of_this_process('racer')\n"
        "while claim := store.claim('x', me): print(claim.trial.number)\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path)]
    processes = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    # Each stays alive until no other claims any more: a dead one's trials would rightly be claimed again.
    claimed = [int(line) for process in processes if process.stdout for line in iter(process.stdout.readline, "done\n")]
    for process in processes:
        process.communicate()
    assert sorted(claimed) == list(range(50))


def test_optuna_works_in_the_same_file_while_ours_is_open(tmp_path: Path) -> None:
    store = Store.open(None, tmp_path)
    open_study(store, [make_spec()])
    worker = FakeWorker.next(store).begin()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(store.url, engine_kwargs={"connect_args": {"timeout": 30}})
    study = optuna.create_study(storage=storage, study_name="x/round_1")
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    worker.train(20)
    study.tell(0, 0.5)
    worker.train(100).end()
    assert optuna.load_study(storage=storage, study_name="x/round_1").best_value == 0.5
    assert Store.open(None, tmp_path).load("x").trials()[0].best_step == 100
    storage.engine.dispose()


def test_our_tables_are_added_to_a_file_that_optuna_began(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'tuner.db'}")
    with pytest.raises(HomeError, match="no studies in"):
        _open(tmp_path, create=False)
    open_study(Store.open(None, tmp_path), [make_spec()])
    assert Store.open(None, tmp_path, create=False).claim("x", ME) is not None
    storage.engine.dispose()


def test_newest_migration_is_the_version_that_the_code_knows() -> None:
    assert ScriptDirectory.from_config(migrations_config()).get_current_head() == SCHEMA_VERSION


def test_migrations_lead_to_the_tables_that_the_code_uses(store: Store) -> None:
    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or (name or "").startswith("tuner_")

    with store._database.read() as connection:
        options = {"version_table": VERSION_TABLE, "compare_server_default": True, "include_name": is_ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []


@pytest.mark.parametrize(("schema", "idle"), [("0001", 0.0), ("0002", 1.5)])
def test_database_file_of_a_released_schema_opens_and_goes_on(tmp_path: Path, schema: str, idle: float) -> None:
    """Each made once, with the release that brought its schema, and never again: `python storage_released.py 0001`."""
    shutil.copy(RELEASED / f"{schema}.db", tmp_path / "tuner.db")
    (tmp_path / "tuner.db").chmod(0o600)
    store = Store.open(None, tmp_path)
    study = store.load("released")
    first, second = study.trials()
    assert (first.best_step, first.best_value, first.num_evals, first.weights_digest) == (100, 9.0, 10, "w100")
    assert study.curve(first.trial, "validation", "loss")[0] == (10, 9.9)
    assert second.state == "waiting"
    assert study.decisions[0].numbers == {"num_trials": 2}
    assert store.bill("released")["seconds"]["idle"] == idle
    assert [file.global_step for file in store.checkpoints(first.trial)] == [100, 100]
    claim = store.claim("released", ME)
    assert claim is not None
    assert claim.trial.trial == second.trial


def test_every_schema_that_was_ever_released_has_its_file() -> None:
    revisions = [script.revision for script in ScriptDirectory.from_config(migrations_config()).walk_revisions()]
    assert sorted(file.stem for file in RELEASED.glob("*.db")) == sorted(revisions)


def test_up_to_date_database_opens_without_alembic(tmp_path: Path) -> None:
    _open(tmp_path)
    code = (
        "import sys; from pathlib import Path; from tuner.storage.store import Store;"
        "Store.open(None, Path(sys.argv[1]), create=False).study_names();"
        "heavy = {'alembic', 'numpy', 'pandas', 'torch', 'optuna'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_large_study_is_read_in_a_handful_of_queries(tmp_path: Path) -> None:
    store = Store.open(None, tmp_path)
    open_study(store, [make_spec(rate=1e-5 * (1 + number)) for number in range(200)])
    execute(
        store,
        "WITH RECURSIVE step(s) AS (SELECT 1 UNION ALL SELECT s + 1 FROM step WHERE s < 500) "
        "INSERT INTO tuner_evals SELECT id, s, 'validation', 'loss', 1.0 / s, 'e', id FROM tuner_trials, step",
    )
    queries: list[str] = []
    storage_cases.count_queries(store, queries)
    study = store.load("x")
    assert len(study.curves) == 200
    assert study.curve(200, "validation", "loss")[-1] == (500, 1 / 500)
    assert len([query for query in queries if query.startswith("SELECT")]) == 6


def test_password_appears_in_no_message() -> None:
    pytest.importorskip("psycopg", reason="the driver of PostgreSQL is not installed")
    url = parse_url("postgresql://me:secret@localhost:1/nothing")
    database = Database(url, place=url.render_as_string(hide_password=True))
    with pytest.raises(TryAgainLater) as caught, database.read():
        pass
    assert "secret" not in str(caught.value)
    assert "localhost" in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        'connection failed: connection to server at "127.0.0.1" failed: FATAL:  database "nope" does not exist',
        'connection failed: FATAL:  password authentication failed for user "me"',
        "permission denied for schema public",
    ],
)
def test_what_will_fail_again_is_the_users_to_mend_and_not_to_try_again(message: str) -> None:
    error = _explain(message, place="postgresql://me@host/db", is_sqlite=False)
    assert isinstance(error, HomeError)
    assert isinstance(_explain("server closed the connection", place="x", is_sqlite=False), TryAgainLater)
