"""`tuner check`: is the study well formed, and what would it run? Closed form; no user code is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tuner.protocol.plan import PlannedPhase

COLUMNS = ("phase", "trials", "updates per trial", "updates in all", "evaluations per trial", "when")
NUMBERS = COLUMNS[1:5]


def check_command(
    study: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study.", show_default=False)],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to override.")
    ] = None,
) -> None:
    """Validate a study and print what it will run.

    The ranges are bounds before any update is shared; what lies between them is what the study finds out.

    \b
    tuner check studies/quickstart.yaml
    tuner check studies/quickstart.yaml round_1.num_trials=12
    """
    from tuner.cli.console import warn
    from tuner.cli.plain import plain
    from tuner.config.auto_space import describe_auto
    from tuner.config.load import load_study
    from tuner.forecast.disk import checkpoint_bytes, num_parameters
    from tuner.protocol.plan import closed_form_plan
    from tuner.protocol.scientific import describe_space

    loaded = load_study(study, overrides or [])
    plan = closed_form_plan(loaded.config)
    for warning in loaded.warnings:
        warn(warning)
    print(plain(f"{study}: study {loaded.config.study} is well formed; it would run:"))
    _show_plan(plan)
    if loaded.config.search_space == "auto":
        print(plain(describe_auto(loaded.config)))
    if asked := describe_space(loaded.config):
        print(plain(asked))
    most = sum(phase.max_trials * phase.max_steps for phase in plan)
    least = sum(phase.min_trials * phase.min_steps for phase in plan)
    print(f"in all {_range(least, most)} updates, before sharing")
    disk = checkpoint_bytes(loaded.config, plan)
    if disk is not None:
        size = f"{num_parameters(loaded.config.workload):,} parameters"
        print(f"checkpoints take at most {megabytes(disk)} of disk ({size}, optimizer state included)")


def _show_plan(plan: Sequence[PlannedPhase]) -> None:
    """The table; where it would not fit, the long last column becomes lines below."""
    from tuner.cli.console import is_wide_enough, show, table
    from tuner.cli.plain import plain

    rows = [_row(phase) for phase in plan]
    drawn = table(COLUMNS, rows, right=NUMBERS, fold=("when",))
    if is_wide_enough(drawn):
        show(drawn)
        return
    short = {"updates per trial": "updates each", "evaluations per trial": "evals each"}
    columns = [short.get(column, column) for column in COLUMNS[:-1]]
    show(table(columns, [row[:-1] for row in rows], right=columns[1:]))
    for phase in plan:
        if phase.note:
            print(plain(f"{phase.name}: {phase.note}"))


def megabytes(num_bytes: int) -> str:
    """A size as people say it.

    >>> megabytes(140_400_000), megabytes(1_340_000_000), megabytes(2_000)
    ('140 MB', '1.3 GB', '1 MB')
    """
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{max(1, round(num_bytes / 1e6)):,} MB"


def _row(phase: PlannedPhase) -> tuple[Any, ...]:
    return (
        phase.name,
        _range(phase.min_trials, phase.max_trials),
        _range(phase.min_steps, phase.max_steps),
        _range(phase.min_trials * phase.min_steps, phase.max_trials * phase.max_steps),
        _range(phase.min_evals, phase.max_evals),
        phase.note,
    )


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} - {high:,}"
