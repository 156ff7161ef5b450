"""Optuna's tables as a mirror of ours, so that `optuna.load_study` and Optuna Dashboard follow a study live (D3).

Reconciliation is one sentence: mirror what is missing. Only the planner writes here, and nothing is ever read back
to decide.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from tuner.config.schema import Dimension, StudyConfig
from tuner.records import VALIDATION, PhaseRecord, StudyRecord, TrialRecord, Value
from tuner.trials.outcomes import optuna_end

TRIAL_ATTRIBUTE = "tuner_trial"
"""User attribute of an Optuna trial: the id of our trial."""


class Mirror:
    """Writes what Optuna's tables lack of one study."""

    def __init__(self, url: str, config: StudyConfig) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        connect = {"connect_args": {"timeout": 30}} if url.startswith("sqlite") else {}
        self._storage = RDBStorage(url, engine_kwargs=connect)
        self._config = config
        self._numbers: dict[str, dict[int, int]] = {}
        self._ended: set[int] = set()

    def sync(self, record: StudyRecord) -> None:
        """Add every started trial that Optuna lacks, and end every ended one that still runs there."""
        for phase in record.phases:
            started = [trial for trial in phase.trials if trial.state != "waiting" and trial.trial not in self._ended]
            if not started:
                continue
            study = self._study(phase, record)
            numbers = self._numbers_of(study)
            for trial in started:
                if trial.trial not in numbers:
                    numbers[trial.trial] = self._add(study, phase, trial)
                if trial.is_ended:
                    self._end(study, trial, number=numbers[trial.trial], record=record)

    def close(self) -> None:
        """Release the connections."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _study(self, phase: PhaseRecord, record: StudyRecord) -> optuna.Study:
        return optuna.create_study(
            storage=self._storage,
            study_name=f"{record.name}/{phase.name}",
            direction=phase.plan.eval.direction,
            load_if_exists=True,
        )

    def _numbers_of(self, study: optuna.Study) -> dict[int, int]:
        """Our trial id -> Optuna's number; read once, then kept, for nobody else writes."""
        if study.study_name not in self._numbers:
            trials = study.get_trials(deepcopy=False)
            self._numbers[study.study_name] = {
                trial.user_attrs[TRIAL_ATTRIBUTE]: trial.number
                for trial in trials
                if TRIAL_ATTRIBUTE in trial.user_attrs
            }
            self._ended |= {
                trial.user_attrs[TRIAL_ATTRIBUTE]
                for trial in trials
                if TRIAL_ATTRIBUTE in trial.user_attrs and trial.state.is_finished()
            }
        return self._numbers[study.study_name]

    def _add(self, study: optuna.Study, phase: PhaseRecord, trial: TrialRecord) -> int:
        study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(trial.params),
                distributions=self._distributions(phase, trial),
                user_attrs={
                    TRIAL_ATTRIBUTE: trial.trial,
                    "max_train_steps": trial.spec.max_train_steps,
                    "seed": trial.spec.seed,
                },
            )
        )
        added = study.get_trials(deepcopy=False)[-1]
        assert added.user_attrs[TRIAL_ATTRIBUTE] == trial.trial
        return added.number

    def _end(self, study: optuna.Study, trial: TrialRecord, *, number: int, record: StudyRecord) -> None:
        if trial.trial in self._ended:
            return
        frozen = study.get_trials(deepcopy=False)[number]
        live = optuna.Trial(study, frozen._trial_id)
        metric = next(phase.plan.eval.metric for phase in record.phases if phase.name == trial.phase)
        for step, value in record.curve(trial.trial, VALIDATION, metric):
            if step not in frozen.intermediate_values:
                live.report(value, step)
        for key, attribute in (
            ("outcome", _outcome(trial)),
            ("best_step", trial.best_step),
            ("last_step", trial.last_step),
        ):
            live.set_user_attr(key, attribute)
        end = optuna_end(trial)
        study.tell(number, end.value, state=end.state)
        self._ended.add(trial.trial)

    def _distributions(self, phase: PhaseRecord, trial: TrialRecord) -> dict[str, BaseDistribution]:
        space = {} if phase.plan.kind == "budget_sweep" else self._config.search_space
        rates = self._config.budget_sweep.learning_rates
        sweep = Dimension(low=rates.low, high=rates.high, scale="log")
        tried = {name: [other.params.get(name) for other in phase.trials] for name in trial.params}
        return {name: _distribution(space.get(name, sweep), value, tried[name]) for name, value in trial.params.items()}


def _distribution(dimension: Dimension, value: object, tried: Sequence[Value]) -> BaseDistribution:
    if dimension.choices is not None:
        # A lower-rate twin may stand beside the choices; within one study they are the same for every trial.
        others = [other for other in tried if other is not None and other not in dimension.choices]
        return CategoricalDistribution([*dimension.choices, *dict.fromkeys(others)])
    assert dimension.low is not None
    assert dimension.high is not None
    assert isinstance(value, int | float)
    # A widened grid reaches beyond the configured range.
    low, high = min(dimension.low, value), max(dimension.high, value)
    if dimension.integer:
        return IntDistribution(int(low), int(high), log=dimension.scale == "log")
    return FloatDistribution(low, high, log=dimension.scale == "log")


def _outcome(trial: TrialRecord) -> str:
    assert trial.outcome is not None
    return f"{trial.outcome.kind}({trial.outcome.reason})" if trial.outcome.reason else trial.outcome.kind
