"""A store on each database at hand: SQLite always, PostgreSQL where TUNER_TEST_POSTGRES holds a URL."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.pool import NullPool

from tuner.storage.database import parse_url
from tuner.storage.store import Store

POSTGRES = os.environ.get("TUNER_TEST_POSTGRES")


RAM = Path("/dev/shm")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home folder in memory where there is such a place: every commit waits for the disk, and there are thousands."""
    if not os.access(RAM, os.W_OK):
        yield tmp_path / "runs"
        return
    with tempfile.TemporaryDirectory(dir=RAM) as folder:
        yield Path(folder) / "runs"


# Where there is a server, `make test` has done those on SQLite.
@pytest.fixture(params=["postgresql" if POSTGRES else "sqlite"])
def storage_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """None for the SQLite file of the home folder; else the URL of a PostgreSQL database of its own."""
    if request.param == "sqlite":
        yield None
        return
    migrated, name = request.getfixturevalue("migrated_database"), f"test_{uuid.uuid4().hex[:12]}"
    on_server(f"CREATE DATABASE {name} TEMPLATE {migrated}")
    yield url_of(name)
    on_server(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a PostgreSQL database with our tables: copying it is faster than migrating for every test."""
    name = f"migrated_{uuid.uuid4().hex[:12]}"
    on_server(f"CREATE DATABASE {name}")
    Store.open(url_of(name), tmp_path_factory.mktemp("migrated")).close()
    return name


def url_of(database: str) -> str:
    """Of a database on the server of the tests."""
    return parse_url(POSTGRES or "").set(database=database).render_as_string(hide_password=False)


def on_server(statement: str) -> None:
    """Do what needs no transaction."""
    engine = sqlalchemy.create_engine(parse_url(POSTGRES or ""), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(statement))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our tables: copying it is faster than migrating for every test."""
    home = tmp_path_factory.mktemp("empty")
    Store.open(None, home).close()
    return home / "tuner.db"


@pytest.fixture
def store(storage_url: str | None, home: Path, empty_database: Path) -> Iterator[Store]:
    if storage_url is None:
        home.mkdir(mode=0o700)
        shutil.copy(empty_database, home / "tuner.db")
    opened = Store.open(storage_url, home)
    yield opened
    opened.close()
