"""Alembic's entry point: runs the migrations on the connection, and in the transaction, that `upgrade` holds.

It looks at tables named `tuner_*` only; Optuna's live beside them with a version table of their own.
"""

from alembic import context

from tuner.storage.tables import metadata
from tuner.storage.upgrade import VERSION_TABLE


def _is_ours(name: str | None, kind: str, parents: object) -> bool:
    return kind != "table" or (name is not None and name.startswith("tuner_"))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_name=_is_ours,
)
context.run_migrations()
