"""The tables, as users may query them with plain SQL; a column keeps its name and meaning over releases.

JSON is stored as text, times as UTC text, floats as doubles (bit for bit). A value that is not finite has no row.
A change here needs a migration beside `migrations/versions/v0001_first_tables.py`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _lease_columns() -> tuple[Column[int], Column[float], Column[str], Column[str]]:
    """Who owns a row until when. The epoch only grows: it is the fencing token of D4."""
    return (
        Column("lease_epoch", Integer, nullable=False, server_default="0"),
        Column("lease_expires", Double),
        Column("lease_owner", Text),
        Column("lease_since", Text),
    )


def _of(table: str, column: str) -> Column[int]:
    """A reference to the row without which this one has no meaning."""
    return Column(column, Integer, ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=False)


studies = Table(
    "tuner_studies",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("config", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("tuner_version", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("answer", Text),
    *_lease_columns(),
    # Ids are never used again: other rows keep them as provenance after a study is deleted.
    sqlite_autoincrement=True,
)

phases = Table(
    "tuner_phases",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("tuner_studies", "study_id"),
    Column("ordinal", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("max_train_steps", Integer, nullable=False),
    Column("plan", Text, nullable=False),
    Column("is_closed", Boolean, nullable=False),
    Column("verdict", Text),
    Column("reason", Text),
    Column("stop_step", Integer),
    Column("opened_at", Text, nullable=False),
    Column("closed_at", Text),
    UniqueConstraint("study_id", "name"),
    UniqueConstraint("study_id", "ordinal"),
    sqlite_autoincrement=True,
)

trials = Table(
    "tuner_trials",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("tuner_studies", "study_id"),
    _of("tuner_phases", "phase_id"),
    Column("number", Integer, nullable=False),
    Column("params", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("reason", Text),
    Column("max_train_steps", Integer, nullable=False),
    Column("last_step", Integer, nullable=False, server_default="0"),
    Column("best_step", Integer),
    Column("best_value", Double),
    Column("last_value", Double),
    Column("first_good_step", Integer),
    Column("num_evals", Integer, nullable=False, server_default="0"),
    Column("num_skipped_updates", Integer, nullable=False, server_default="0"),
    Column("weights_digest", Text),
    Column("forked_from_trial", Integer),
    Column("forked_from_step", Integer),
    Column("steps_executed", Integer, nullable=False, server_default="0"),
    Column("static_digest", Text),
    Column("num_attempts", Integer, nullable=False, server_default="0"),
    Column("num_deaths", Integer, nullable=False, server_default="0"),
    *_lease_columns(),
    UniqueConstraint("phase_id", "number"),
    Index("ix_tuner_trials_study_id_state", "study_id", "state"),
    sqlite_autoincrement=True,
)

attempts = Table(
    "tuner_attempts",
    metadata,
    _of("tuner_trials", "trial_id"),
    Column("lease_epoch", Integer, nullable=False),
    Column("from_step", Integer, nullable=False),
    Column("to_step", Integer, nullable=False),
    Column("seconds_train", Double, nullable=False, server_default="0"),
    Column("seconds_eval", Double, nullable=False, server_default="0"),
    Column("seconds_checkpoint", Double, nullable=False, server_default="0"),
    Column("seconds_setup", Double, nullable=False, server_default="0"),
    Column("started_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("how_ended", Text),
    Column("owner", Text, nullable=False),
    PrimaryKeyConstraint("trial_id", "lease_epoch"),
)

idle = Table(
    "tuner_idle",
    metadata,
    _of("tuner_studies", "study_id"),
    Column("worker", Text, nullable=False),
    Column("seconds", Double, nullable=False),
    PrimaryKeyConstraint("study_id", "worker"),
)

numerics = Table(
    "tuner_numerics",
    metadata,
    _of("tuner_trials", "trial_id"),
    Column("from_step", Integer, nullable=False),
    Column("segment", Text, nullable=False),
    Column("numerics_key", Text, nullable=False),
    PrimaryKeyConstraint("trial_id", "from_step"),
)

evals = Table(
    "tuner_evals",
    metadata,
    _of("tuner_trials", "trial_id"),
    Column("global_step", Integer, nullable=False),
    Column("split", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("eval_key", Text, nullable=False),
    # Not a foreign key: a donor's study may be deleted, its measurements stay true.
    Column("measured_by_trial", Integer, nullable=False),
    # In this order, a curve is one contiguous range of the table.
    PrimaryKeyConstraint("trial_id", "split", "metric", "global_step"),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "tuner_checkpoints",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("tuner_trials", "trial_id"),
    Column("global_step", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("sha256", Text, nullable=False),
    Column("weights_digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("static_digest", Text, nullable=False),
    Column("recipe_key", Text, nullable=False, index=True),
    Column("numerics_key", Text, nullable=False),
    Column("num_skipped_updates", Integer, nullable=False),
    Column("lease_epoch", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    Index("ix_tuner_checkpoints_trial_id", "trial_id"),
    Index("ix_tuner_checkpoints_static_digest", "static_digest"),
    sqlite_autoincrement=True,
)

pins = Table(
    "tuner_pins",
    metadata,
    # No cascade: the database itself refuses to drop a checkpoint that a fork still needs.
    Column("checkpoint_id", Integer, ForeignKey("tuner_checkpoints.id"), nullable=False),
    _of("tuner_trials", "trial_id"),
    PrimaryKeyConstraint("checkpoint_id", "trial_id"),
    Index("ix_tuner_pins_trial_id", "trial_id"),
)

decisions = Table(
    "tuner_decisions",
    metadata,
    Column("id", Integer, primary_key=True),
    _of("tuner_studies", "study_id"),
    Column("phase", Text),
    Column("ordinal", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("numbers", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    UniqueConstraint("study_id", "ordinal"),
    sqlite_autoincrement=True,
)
