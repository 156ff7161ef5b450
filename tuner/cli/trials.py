"""`tuner trials`: every trial of a study, as stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner.cli.options import DEFAULT_HOME, HomeOption, JsonOption, StorageOption, StudyName

if TYPE_CHECKING:
    from tuner.records import TrialRecord

COLUMNS = (
    *("trial", "phase", "no.", "outcome", "steps", "best step", "best value", "last value", "forked from"),
    "params",
)
NUMBERS = ("trial", "no.", "steps", "best step", "best value", "last value")


def trials_command(
    name: StudyName,
    home: HomeOption = DEFAULT_HOME,
    storage: StorageOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every trial of a study.

    "forked from 3@680" means that the trial started from trial 3's checkpoint after 680 updates.

    \b
    tuner trials quickstart
    tuner trials quickstart --json
    """
    from tuner.cli.reading import load_study_record, opened_store
    from tuner.report.payloads import as_text, trials_payload

    with opened_store(home, storage) as store:
        study = load_study_record(store, name)
    if as_json:
        print(as_text(trials_payload(study)))
        return
    from tuner.cli.console import show, table

    show(table(COLUMNS, [_row(trial) for trial in study.trials()], right=NUMBERS, fold=("params",)))


def _row(trial: TrialRecord) -> tuple[Any, ...]:
    from tuner.report.wording import number, outcome_text, params_text

    fork = trial.forked_from
    return (
        trial.trial,
        trial.phase,
        trial.number,
        outcome_text(trial),
        f"{trial.last_step:,} of {trial.spec.max_train_steps:,}",
        None if trial.best_step is None else f"{trial.best_step:,}",
        None if trial.best_value is None else number(trial.best_value),
        None if trial.last_value is None else number(trial.last_value),
        None if fork is None else f"{fork.trial}@{fork.step:,}",
        params_text(trial.params),
    )
