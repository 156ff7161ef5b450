"""Opens a database for use: finds its place, refuses what cannot work, creates and upgrades what is ours.

Rule: whoever only reads creates nothing.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL

from tuner.errors import HomeError
from tuner.storage.database import Database, parse_url
from tuner.storage.file_system import create_private_file, prepare_home, refuse_network_file_system
from tuner.storage.passwords import without_password
from tuner.storage.patience import Patience
from tuner.storage.upgrade import upgrade


def open_database(
    url: str | None, home: Path, *, default: Path, create: bool, patience: Patience | None = None
) -> Database:
    """The database at `url`, or the SQLite file `default` of the home folder, at this release's schema.

    Raises:
        HomeError: the place cannot be used, holds a newer schema, or (without `create`) holds no studies yet.
        TryAgainLater: the database is away.
    """
    # A path is no part of a URL's text: it may hold a `?` or a `%`.
    parsed = parse_url(url) if url else URL.create("sqlite", database=_named_in_utf8(default))
    place = without_password(parsed) if url else str(home / default.name)
    database = Database(parsed, place=place, patience=patience)
    if database.file is not None:
        refuse_network_file_system(database.file)
    if create:
        prepare_home(home.expanduser())
        if database.file is not None:
            create_private_file(database.file)
    is_missing = database.file is not None and not database.file.exists()
    if is_missing or not upgrade(database, create=create):
        raise HomeError(
            f"no studies in {place if url else f'{home}/'} yet; start one with `tuner run STUDY.yaml`, "
            "or name the folder of your studies with --home"
        )
    return database


def _named_in_utf8(default: Path) -> str:
    """The path as text.

    Raises:
        HomeError: if it is none: the file's name is given to others as part of a URL.
    """
    try:
        return str(default).encode("utf-8").decode()
    except UnicodeEncodeError:
        raise HomeError(f"--home: the path {str(default)!a} is not UTF-8; name another folder") from None
