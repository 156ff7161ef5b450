"""The first tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_studies()
    _create_phases()
    _create_trials()
    _create_attempts()
    _create_numerics()
    _create_evals()
    _create_checkpoints()
    _create_pins()
    _create_decisions()


def _create_studies() -> None:
    op.create_table(
        "tuner_studies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("tuner_version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_expires", sa.Double(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_since", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_studies")),
        sa.UniqueConstraint("name", name=op.f("uq_tuner_studies_name")),
        sqlite_autoincrement=True,
    )


def _create_phases() -> None:
    op.create_table(
        "tuner_phases",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("max_train_steps", sa.Integer(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("stop_step", sa.Integer(), nullable=True),
        sa.Column("opened_at", sa.Text(), nullable=False),
        sa.Column("closed_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_phases_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_phases")),
        sa.UniqueConstraint("study_id", "name", name=op.f("uq_tuner_phases_study_id_name")),
        sa.UniqueConstraint("study_id", "ordinal", name=op.f("uq_tuner_phases_study_id_ordinal")),
        sqlite_autoincrement=True,
    )


def _create_trials() -> None:
    op.create_table(
        "tuner_trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("phase_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("params", sa.Text(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("max_train_steps", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), server_default="0", nullable=False),
        sa.Column("best_step", sa.Integer(), nullable=True),
        sa.Column("best_value", sa.Double(), nullable=True),
        sa.Column("last_value", sa.Double(), nullable=True),
        sa.Column("first_good_step", sa.Integer(), nullable=True),
        sa.Column("num_evals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("num_skipped_updates", sa.Integer(), server_default="0", nullable=False),
        sa.Column("weights_digest", sa.Text(), nullable=True),
        sa.Column("forked_from_trial", sa.Integer(), nullable=True),
        sa.Column("forked_from_step", sa.Integer(), nullable=True),
        sa.Column("steps_executed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("static_digest", sa.Text(), nullable=True),
        sa.Column("num_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("num_deaths", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_expires", sa.Double(), nullable=True),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_since", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["phase_id"], ["tuner_phases.id"], name=op.f("fk_tuner_trials_phase_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_trials_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_trials")),
        sa.UniqueConstraint("phase_id", "number", name=op.f("uq_tuner_trials_phase_id_number")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tuner_trials_study_id_state", "tuner_trials", ["study_id", "state"], unique=False)


def _create_attempts() -> None:
    op.create_table(
        "tuner_attempts",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("from_step", sa.Integer(), nullable=False),
        sa.Column("to_step", sa.Integer(), nullable=False),
        sa.Column("seconds_train", sa.Double(), server_default="0", nullable=False),
        sa.Column("seconds_eval", sa.Double(), server_default="0", nullable=False),
        sa.Column("seconds_checkpoint", sa.Double(), server_default="0", nullable=False),
        sa.Column("seconds_setup", sa.Double(), server_default="0", nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("how_ended", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_attempts_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "lease_epoch", name=op.f("pk_tuner_attempts")),
    )


def _create_numerics() -> None:
    op.create_table(
        "tuner_numerics",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("from_step", sa.Integer(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("numerics_key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_numerics_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "from_step", name=op.f("pk_tuner_numerics")),
    )


def _create_evals() -> None:
    op.create_table(
        "tuner_evals",
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("global_step", sa.Integer(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("eval_key", sa.Text(), nullable=False),
        sa.Column("measured_by_trial", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_evals_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trial_id", "split", "metric", "global_step", name=op.f("pk_tuner_evals")),
        sqlite_with_rowid=False,
    )


def _create_checkpoints() -> None:
    op.create_table(
        "tuner_checkpoints",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.Column("global_step", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("weights_digest", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("static_digest", sa.Text(), nullable=False),
        sa.Column("recipe_key", sa.Text(), nullable=False),
        sa.Column("numerics_key", sa.Text(), nullable=False),
        sa.Column("num_skipped_updates", sa.Integer(), nullable=False),
        sa.Column("lease_epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_checkpoints_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_checkpoints")),
        sa.UniqueConstraint("path", name=op.f("uq_tuner_checkpoints_path")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_tuner_checkpoints_recipe_key"), "tuner_checkpoints", ["recipe_key"], unique=False)
    op.create_index("ix_tuner_checkpoints_static_digest", "tuner_checkpoints", ["static_digest"], unique=False)
    op.create_index("ix_tuner_checkpoints_trial_id", "tuner_checkpoints", ["trial_id"], unique=False)


def _create_pins() -> None:
    op.create_table(
        "tuner_pins",
        sa.Column("checkpoint_id", sa.Integer(), nullable=False),
        sa.Column("trial_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["checkpoint_id"], ["tuner_checkpoints.id"], name=op.f("fk_tuner_pins_checkpoint_id")),
        sa.ForeignKeyConstraint(
            ["trial_id"], ["tuner_trials.id"], name=op.f("fk_tuner_pins_trial_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("checkpoint_id", "trial_id", name=op.f("pk_tuner_pins")),
    )
    op.create_index("ix_tuner_pins_trial_id", "tuner_pins", ["trial_id"], unique=False)


def _create_decisions() -> None:
    op.create_table(
        "tuner_decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("study_id", sa.Integer(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["tuner_studies.id"], name=op.f("fk_tuner_decisions_study_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tuner_decisions")),
        sa.UniqueConstraint("study_id", "ordinal", name=op.f("uq_tuner_decisions_study_id_ordinal")),
        sqlite_autoincrement=True,
    )
