"""Whether Optuna's tables say of a study what ours say, by the table in `outcomes.py` (D3).

Rule: reading creates nothing. A mirror may lag behind a study that goes on, for the planner mirrors what is missing at
its next move; behind one that has ended it may not, and what it holds must always be true.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from tuner.config.schema import StudyConfig
from tuner.records import VALIDATION, PhaseRecord, StudyRecord, TrialRecord
from tuner.storage.findings import Check, Finding
from tuner.storage.optuna_values import TIMEOUT_SECONDS, TRIAL_ATTRIBUTE
from tuner.trials.mirror import Mirror
from tuner.trials.outcomes import optuna_end

LACKING = "has not ended in Optuna's tables, or is not there"
"""The one problem that completing mends."""


Mirrored = dict[str, list[FrozenTrial]]
"""Optuna's trials of a study by the name of our phase."""


def read_mirror(url: str, name: str) -> Mirrored:
    """What Optuna's tables hold of a study. Read it before our rows: it follows them, and must not seem ahead."""
    storage = _open(url)
    try:
        prefix = f"{name}/"
        return {
            study.study_name.removeprefix(prefix): storage.get_all_trials(study._study_id, deepcopy=False)
            for study in storage.get_all_studies()
            if study.study_name.startswith(prefix)
        }
    finally:
        _close(storage)


def check_mirror(mirrored: Mirrored, record: StudyRecord) -> Check:
    """Each of our trials once, with its state, value and intermediate values; none of theirs that is not ours."""
    findings: list[Finding] = []
    lag: list[int] = []
    for phase in record.phases:
        found = mirrored.get(phase.name, [])
        findings += _strange(phase, found)
        for trial in phase.trials:
            twins = [one for one in found if one.user_attrs.get(TRIAL_ATTRIBUTE) == trial.trial]
            problems = list(_problems(phase, trial, twins, record=record))
            findings += [_finding(f"trial {trial.trial}", problem, trial.trial) for problem in problems]
            if not problems and _lags(trial, twins):
                lag.append(trial.trial)
    is_over = record.state in ("finished", "no_answer")
    if is_over:
        findings += [_finding(f"trial {trial}", LACKING, trial) for trial in lag]
    notes = [f"{len(lag)} to follow at the study's next move"] if lag and not is_over else []
    return Check(name="mirror", num_checked=len(record.trials()), findings=tuple(findings), notes=tuple(notes))


def mend_mirror(url: str, record: StudyRecord, config: StudyConfig, check: Check) -> list[str]:
    """Complete Optuna's tables; a phase that they tell wrongly is mirrored anew, for Optuna changes no ended trial."""
    wrong = [phase.name for phase in record.phases if _needs_anew(phase, check)]
    if wrong:
        storage = _open(url)
        known = {study.study_name for study in storage.get_all_studies()}
        for name in wrong:
            if f"{record.name}/{name}" in known:
                optuna.delete_study(study_name=f"{record.name}/{name}", storage=storage)
        _close(storage)
    mirror = Mirror(url, config)
    try:
        mirror.sync(record)
    finally:
        mirror.close()
    anew = [f"mirrored phase {name} into Optuna's tables anew" for name in wrong]
    return [*anew, "completed Optuna's tables"] if len(wrong) < len(record.phases) else anew


def _needs_anew(phase: PhaseRecord, check: Check) -> bool:
    own = {trial.trial for trial in phase.trials}
    return any(finding.target in own and finding.problem != LACKING for finding in check.findings)


def _strange(phase: PhaseRecord, found: list[FrozenTrial]) -> Iterator[Finding]:
    """Trials of theirs that are none of ours, and ours that are there twice."""
    own = {trial.trial for trial in phase.trials}
    numbers: dict[int | None, list[int]] = defaultdict(list)
    for one in found:
        numbers[one.user_attrs.get(TRIAL_ATTRIBUTE)].append(one.number)
    first = phase.trials[0].trial if phase.trials else 0
    for trial, theirs in numbers.items():
        if trial is None or trial not in own:
            problem = f"Optuna's trial {theirs[0]} of {phase.name} is none of ours"
            yield _finding(f"phase {phase.name}", problem, first)
        elif len(theirs) > 1:
            yield _finding(f"trial {trial}", f"is there {len(theirs)} times, as numbers {theirs}", trial)


def _problems(
    phase: PhaseRecord, trial: TrialRecord, twins: list[FrozenTrial], *, record: StudyRecord
) -> Iterator[str]:
    """What Optuna's trial says that ours does not."""
    if not twins or not twins[0].state.is_finished():
        return
    theirs = twins[0]
    if not trial.is_ended:
        yield f"is {trial.state}, but {theirs.state.name} in Optuna's tables"
        return
    end = optuna_end(trial)
    if theirs.state is not end.state:
        yield f"is {theirs.state.name} in Optuna's tables, not {end.state.name}"
    curve = dict(record.curve(trial.trial, VALIDATION, phase.plan.eval.metric))
    # A pruned trial's value is Optuna's own affair: its last report.
    if end.state is TrialState.COMPLETE and theirs.value != end.value:
        yield f"has the value {theirs.value} in Optuna's tables, not {end.value}"
    if theirs.intermediate_values != curve:
        yield f"has {len(theirs.intermediate_values)} intermediate values in Optuna's tables that are not its curve"


def _lags(trial: TrialRecord, twins: list[FrozenTrial]) -> bool:
    if trial.is_ended:
        return not twins or not twins[0].state.is_finished()
    return trial.state != "waiting" and not twins


def _finding(subject: str, problem: str, target: int) -> Finding:
    return Finding(subject=subject, problem=problem, mend="mirror", target=target)


def _open(url: str) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connect = {"connect_args": {"timeout": TIMEOUT_SECONDS}} if url.startswith("sqlite") else {}
    return RDBStorage(url, engine_kwargs=connect, skip_table_creation=True)


def _close(storage: RDBStorage) -> None:
    storage.remove_session()
    storage.engine.dispose()
