"""Idle time by worker.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tuner_idle",
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_idle_study_id_tuner_studies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "worker", name=op.f("pk_tuner_idle")),
    )
