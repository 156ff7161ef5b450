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


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.skipif(not POSTGRES, reason="TUNER_TEST_POSTGRES holds no URL")),
    ]
)
def storage_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """None for the SQLite file of the home folder; else a PostgreSQL URL with a schema of its own."""
    if request.param == "sqlite":
        yield None
        return
    url, schema = parse_url(POSTGRES or ""), f"test_{uuid.uuid4().hex[:12]}"
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA {schema}"))
        options = {"options": f"-csearch_path={schema}"}
        yield url.update_query_dict(options).render_as_string(hide_password=False)
        connection.execute(sqlalchemy.text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


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
