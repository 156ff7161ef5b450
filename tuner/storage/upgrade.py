"""Brings a database to this release's schema, under the writers' lock, so that any number may start at once.

Rule: a database that is up to date costs one SELECT; alembic is imported only when there is something to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from tuner import __version__
from tuner.errors import HomeError
from tuner.storage.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

SCHEMA_VERSION = "0002"
"""The newest migration in `migrations/versions/`; a test compares them. Revisions are numbers that only rise."""

VERSION_TABLE = "tuner_alembic_version"
"""Optuna owns alembic's default table in the same database (D3)."""


def upgrade(database: Database, *, create: bool) -> bool:
    """Create or upgrade our tables; False if there are none and `create` is False.

    Raises:
        HomeError: if the database was written by a newer tuner.
    """
    with database.read() as connection:
        version = stored_version(connection)
    refuse_newer(version, database.place)
    if version == SCHEMA_VERSION:
        return True
    if version is None and not create:
        return False
    with database.write("upgrade") as connection:
        # Again, now that no other can be upgrading.
        version = stored_version(connection)
        refuse_newer(version, database.place)
        if version != SCHEMA_VERSION:
            _run_migrations(connection)
    return True


def stored_version(connection: Connection) -> str | None:
    """The schema version of our tables, or None if there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    version: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return version


def migrations_config() -> Config:
    """Alembic's settings for our migrations."""
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


def _run_migrations(connection: Connection) -> None:
    from alembic import command

    config = migrations_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def refuse_newer(version: str | None, place: str) -> None:
    """Stop before a database that a newer tuner wrote.

    Raises:
        HomeError: if `version` is later than this release's.
    """
    if version is not None and version > SCHEMA_VERSION:
        raise HomeError(
            f"database {place} has schema {version}, but tuner {__version__} knows schemas up to {SCHEMA_VERSION}; "
            "update tuner, or name another folder with --home"
        )
