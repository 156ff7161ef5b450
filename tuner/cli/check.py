"""`tuner check`: is the study well formed, and what would it run? Closed form; no user code is imported.

Text in files is counted if that takes no more than a moment, so that epochs stand beside updates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from tuner.config.schema import StudyConfig
    from tuner.forecast.examples import ExampleCount
    from tuner.protocol.plan import PlannedPhase

EPOCHS = "epochs per trial"
COLUMNS = ("phase", "trials", "updates per trial", EPOCHS, "updates in all", "evaluations per trial", "when")


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
    from tuner.forecast.disk import checkpoint_bytes
    from tuner.forecast.examples import count_train_examples
    from tuner.protocol.plan import closed_form_plan
    from tuner.protocol.scientific import describe_space

    loaded = load_study(study, overrides or [])
    plan = closed_form_plan(loaded.config)
    for warning in loaded.warnings:
        warn(warning)
    print(plain(f"{study}: study {loaded.config.study} is well formed; it would run:"))
    examples = count_train_examples(loaded.config, folder=loaded.folder)
    _show_plan(plan, Epochs(config=loaded.config, examples=examples))
    print(plain(examples.told))
    if loaded.config.search_space == "auto":
        print(plain(describe_auto(loaded.config)))
    if asked := describe_space(loaded.config):
        print(plain(asked))
    most = sum(phase.max_trials * phase.max_steps for phase in plan)
    least = sum(phase.min_trials * phase.min_steps for phase in plan)
    print(f"in all {_range(least, most)} updates, before sharing")
    print(_disk_told(loaded.config, checkpoint_bytes(loaded.config, plan)))


def _disk_told(config: StudyConfig, disk: int | None) -> str:
    from tuner.config.model_sizes import num_parameters
    from tuner.config.schema import CausalLMWorkload

    if disk is None or not isinstance(config.workload, CausalLMWorkload):
        return "disk for checkpoints is unknown before the run: the workload's own code builds the model"
    size = f"{num_parameters(config.workload):,} parameters"
    return f"checkpoints take at most {megabytes(disk)} of disk ({size}, optimizer state included)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """Steps in passes over the training examples, as far as those are known."""

    config: StudyConfig
    examples: ExampleCount

    @property
    def are_known(self) -> bool:
        """Whether anything can be said of them."""
        return bool(self.examples.most)

    def text(self, low: int, high: int) -> str:
        """A range of steps; open above where only an upper bound of the examples is known."""
        least, most, batch = self.examples.least, self.examples.most, self.config.training.global_batch_size
        if not most:
            return ""
        lowest = f"{low * batch / most:.3g}"
        if not least:
            return f"{lowest} or more"
        highest = f"{high * batch / least:.3g}"
        return lowest if lowest == highest else f"{lowest} - {highest}"


def _show_plan(plan: Sequence[PlannedPhase], epochs: Epochs) -> None:
    """The table; where it would not fit, the long last column becomes lines below, and if need be the epochs too."""
    from tuner.cli.console import is_wide_enough, show, table
    from tuner.cli.plain import plain

    rows = [_row(phase, epochs) for phase in plan]
    columns = [column for column in COLUMNS if column != EPOCHS or epochs.are_known]
    drawn = table(columns, [_cells(row, columns) for row in rows], right=columns[1:-1], fold=("when",))
    if is_wide_enough(drawn):
        show(drawn)
        return
    columns = [column for column in columns if column != "when"]
    drawn = _short_table(columns, rows)
    is_told_below = not is_wide_enough(drawn) and epochs.are_known
    if is_told_below:
        drawn = _short_table([column for column in columns if column != EPOCHS], rows)
    show(drawn)
    for row in rows:
        passes = [f"{row[EPOCHS]} epochs per trial"] if is_told_below else []
        print(plain(f"{row['phase']}: {'; '.join([*passes, row['when']])}"))


def _short_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Table:
    from tuner.cli.console import table

    heads = [column.replace("per trial", "each").replace("evaluations", "evals") for column in columns]
    return table(heads, [_cells(row, columns) for row in rows], right=heads[1:])


def _cells(row: Mapping[str, str], columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[column] for column in columns)


def megabytes(num_bytes: int) -> str:
    """A size as people say it.

    >>> megabytes(140_400_000), megabytes(1_340_000_000), megabytes(2_000)
    ('140 MB', '1.3 GB', '1 MB')
    """
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{max(1, round(num_bytes / 1e6)):,} MB"


def _row(phase: PlannedPhase, epochs: Epochs) -> dict[str, str]:
    return {
        "phase": phase.name,
        "trials": _range(phase.min_trials, phase.max_trials),
        "updates per trial": _range(phase.min_steps, phase.max_steps),
        EPOCHS: epochs.text(phase.min_steps, phase.max_steps),
        "updates in all": _range(phase.min_trials * phase.min_steps, phase.max_trials * phase.max_steps),
        "evaluations per trial": _range(phase.min_evals, phase.max_evals),
        "when": phase.note,
    }


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} - {high:,}"
