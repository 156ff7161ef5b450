"""The database's clock: the only one by which leases expire, so that machines need not agree on the time (D4)."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, text

# `unixepoch('subsec')` is NULL on SQLite before 3.42. PostgreSQL's now() stands still from the start of a transaction,
# which may have waited for the writers' lock.
_SECONDS = {
    "sqlite": text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": text("SELECT extract(epoch FROM clock_timestamp())"),
}


def now(connection: Connection) -> float:
    """Seconds since 1970 by the database's clock, to about a millisecond."""
    return float(connection.execute(_SECONDS[connection.dialect.name]).scalar_one())


def timestamp(connection: Connection) -> str:
    """The database's time as stored for people: UTC, ISO 8601, whole seconds."""
    return as_text(now(connection))


def as_text(seconds: float) -> str:
    """Seconds since 1970 as UTC text.

    >>> as_text(0.0)
    '1970-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
