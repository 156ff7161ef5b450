"""One database, SQLite or PostgreSQL, seen as two kinds of transaction: `read` and `write`.

Rule: writers come one at a time on both databases (SQLite: BEGIN IMMEDIATE; PostgreSQL: one advisory lock), so every
method of the store sees what all earlier ones left, and nothing between. Readers see one consistent moment. A
transaction waits for its lock, or for a server that was there before, as long as `patience` lasts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from tuner.errors import HomeError, TryAgainLater, TunerError, is_disk_full
from tuner.failpoints import failpoint
from tuner.storage.file_system import has_no_space
from tuner.storage.passwords import has_stray_at, without_password
from tuner.storage.patience import Patience

BUSY_SECONDS = 5
"""SQLite's own waiting for a lock, and PostgreSQL's; then `patience` says who is waited for, and asks again."""
CONNECT_SECONDS = 10
WRITERS_LOCK = 0x74756E6572
"""Key of PostgreSQL's advisory lock: "tuner" in ASCII."""

_POSTGRESQL_LOCK = text("SELECT set_config('lock_timeout', :busy, true), pg_advisory_xact_lock(:key)")

_Kind = Literal["read", "write"]


class Database:
    """Connections to one database. Safe to use from several threads: every transaction has its own connection.

    `place` is how messages call it: the file's path, or the URL without its password.
    """

    def __init__(self, url: URL, *, place: str, patience: Patience | None = None) -> None:
        self.url, self.place, self.patience = url, place, patience or Patience()
        self._was_reached, self._was_written = self.is_sqlite, False
        self._engine = _sqlite_engine(url) if self.is_sqlite else _postgresql_engine(url)
        self._writer = self._engine.execution_options(tuner_begin="BEGIN IMMEDIATE")
        self._reader = self._engine
        if not self.is_sqlite:
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def file(self) -> Path | None:
        """The SQLite file."""
        return Path(self.url.database) if self.is_sqlite and self.url.database else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that changes nothing and sees the database as it was at its first query.

        Raises:
            TryAgainLater, HomeError: as `write`.
        """
        with self._transaction("read") as connection:
            yield connection

    @contextmanager
    def write(self, name: str | None = None) -> Iterator[Connection]:
        """A transaction that no other writer can interleave; rolled back if anything is raised in it.

        `name` is that of its failpoints.

        Raises:
            TryAgainLater: the disk is full, the database is away, or others held it for longer than our patience.
            HomeError: the file is read-only, damaged, or not a database.
        """
        with self._transaction("write") as connection:
            yield connection
            if name is not None:
                failpoint(f"{name}.before")
            self._commit(connection)
            self._was_written = True
        if name is not None:
            failpoint(f"{name}.after")

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, kind: _Kind) -> Iterator[Connection]:
        """Rolled back at the end, unless it was committed."""
        with self.patience(lambda: self._begun(kind), of=kind) as connection, self._in_our_words():
            yield connection

    def _begun(self, kind: _Kind) -> Connection:
        """A transaction that holds its lock."""
        connection = None
        try:
            with self._in_our_words():
                connection = (self._reader if kind == "read" else self._writer).connect()
                self._was_reached = True
                connection.begin()
                if self.is_sqlite:
                    connection.exec_driver_sql("PRAGMA schema_version")  # A reader's lock is taken by its first look.
                elif kind == "write":
                    connection.execute(_POSTGRESQL_LOCK, {"key": WRITERS_LOCK, "busy": f"{BUSY_SECONDS * 1000:.0f}"})
        except TryAgainLater as error:
            if connection is not None:
                connection.close()
            error.may_repeat = self._was_reached  # Nobody waits for a server that never answered.
            raise
        return connection

    def _commit(self, connection: Connection) -> None:
        if self.is_sqlite:
            undone = self.patience(lambda: self._commit_sqlite(connection), of="write")
            if undone is not None:
                raise undone
        try:
            with self._in_our_words():
                connection.commit()
        except TryAgainLater as error:
            error.may_repeat = False  # What a server did with a commit that it never answered is unknown.
            raise

    def _commit_sqlite(self, connection: Connection) -> TryAgainLater | None:
        """Commit; or what made SQLite undo the transaction instead. One that readers hold up can be asked for again."""
        try:
            with self._in_our_words():
                connection.exec_driver_sql("COMMIT")
        except TryAgainLater as error:
            driver = connection.connection.driver_connection
            if driver is not None and driver.in_transaction:
                raise
            return error
        return None

    def _is_full(self) -> bool:
        """Whether lack of space, not of permission, keeps us from writing: it has worked, or there is none now."""
        return self._was_written or (self.file is not None and has_no_space(self.file.parent))

    @contextmanager
    def _in_our_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise TryAgainLater(f"the disk is full; {_FREE_SPACE}") from error
        except DBAPIError as error:
            ours = _explain(str(error.orig), place=self.place, is_sqlite=self.is_sqlite)
            if ours is None:
                raise
            # SQLite says that it cannot write, too, if its journal finds no space.
            if (
                isinstance(ours, HomeError)
                and any(sign in str(error.orig) for sign in _PERHAPS_FULL)
                and self._is_full()
            ):
                ours = TryAgainLater(f"database {self.place} cannot be written now; {_FREE_SPACE}")
            raise ours from error


def parse_url(url: str) -> URL:
    """A database URL as given by `--storage`; PostgreSQL is always reached through psycopg 3.

    Raises:
        HomeError: if it is no URL, or names a database that is not supported.
    """
    told = f"--storage {without_password(url)!r}"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise HomeError(
            f"{told} is not a database URL; use sqlite:///path/to/file.db or postgresql://user@host/database"
        ) from None
    if has_stray_at(parsed):
        raise HomeError(f"{told} has an @ in its password, host or database; write it as %40 there")
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise HomeError(f"{told} names no file, but workers share one; use sqlite:///path/to/file.db")
        return parsed.set(drivername="sqlite")
    if parsed.get_backend_name() in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise HomeError(
        f"--storage: {parsed.get_backend_name()} is not supported; use sqlite:///path/to/file.db or "
        "postgresql://user@host/database"
    )


def _sqlite_engine(url: URL) -> Engine:
    # Pooled: opening the file costs more than a small transaction. A connection holds no lock between transactions,
    # and none survives into a spawned worker.
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: object, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]  # Else the driver begins transactions itself.
        for pragma in ("foreign_keys=ON", "synchronous=EXTRA", f"busy_timeout={BUSY_SECONDS * 1000:.0f}"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("tuner_begin", "BEGIN"))

    return engine


def _postgresql_engine(url: URL) -> Engine:
    try:
        connect = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
        return create_engine(url, pool_pre_ping=True, connect_args=connect)
    except ModuleNotFoundError as error:
        raise HomeError(
            "--storage postgresql://... needs the driver psycopg, which is missing; install 'tuner[postgresql]'"
        ) from error


def _explain(message: str, *, place: str, is_sqlite: bool) -> TunerError | None:
    """The one line for what the user can mend or wait for; None for a bug of ours."""
    first = message.strip().splitlines()[0] if message.strip() else "no reason given"
    if not is_sqlite:
        refused = next((told for sign, told in _POSTGRESQL_WORDS.items() if sign in message.lower()), None)
        if refused is not None:
            return HomeError(f"database {place} cannot be used ({first}); {refused}")
        if "lock timeout" in message:
            return TryAgainLater(f"database {place} {_HELD}")
        passing = (
            "connect",
            "terminat",
            "starting up",
            "shutting down",
            "timeout",
            "disk",
            "space",
            "too many clients",
        )
        if any(word in message.lower() for word in passing):
            return TryAgainLater(f"database {place} is away ({first}); nothing was lost, run the command again")
        return None
    for sign, error in _SQLITE_WORDS.items():
        if sign in message:
            kind, rule = error
            if sign == _IO_ERROR:
                return TryAgainLater(f"database {place} {rule}", may_repeat=False)
            return kind(f"database {place} {rule}")
    return None


_POSTGRESQL_WORDS = {
    "authentication failed": "give the right user and password in --storage",
    "no password supplied": "give a password in --storage, or by PGPASSWORD",
    "no pg_hba.conf entry": "let this host connect in the server's pg_hba.conf",
    "does not exist": "create that database or role, or name another in --storage",
    "permission denied": "grant this role the right to create tables",
    "could not translate host name": "check the host in --storage",
    "failed to resolve host": "check the host in --storage",
    "invalid connection option": "remove it from --storage",
    "invalid sslmode value": "mend it in --storage",
}
"""What will be the same the next time: the user's to mend, although it comes as a failed connection."""

_HELD = "is held by others; nothing was lost, run the command again"
_IO_ERROR = "disk I/O error"
_FREE_SPACE = "free some space and run the command again"

_PERHAPS_FULL = ("readonly database", "unable to open")

_SQLITE_WORDS: dict[str, tuple[type[TunerError], str]] = {
    "is locked": (TryAgainLater, _HELD),
    "disk is full": (TryAgainLater, f"cannot grow: the disk is full; {_FREE_SPACE}"),
    _IO_ERROR: (
        TryAgainLater,
        "could not be read or written (disk I/O error); check the disk, then run it again",
    ),
    "readonly database": (HomeError, "is read-only; change its permissions, or name another folder with --home"),
    "unable to open": (HomeError, "cannot be opened; check that its folder exists and can be written"),
    "not a database": (HomeError, "is not a SQLite database; move that file away, or name another folder with --home"),
    "malformed": (HomeError, "is damaged; restore a copy of it, or name another folder with --home"),
}
