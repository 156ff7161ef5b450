"""Optuna's tables as a mirror of ours, so that `optuna.load_study` and Optuna Dashboard follow a study live (D3).

Reconciliation is one sentence: mirror what is missing. Only the planner writes here, and nothing is ever read back
to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState, create_trial

from tuner.config.schema import Dimension, StudyConfig
from tuner.config.spaces import at_point
from tuner.failpoints import failpoint
from tuner.protocol.collapsed import may_collapse
from tuner.protocol.joined import is_extended
from tuner.protocol.space import space_of
from tuner.records import VALIDATION, PhaseRecord, StudyRecord, TrialRecord, Value
from tuner.storage.optuna_values import (
    TIMEOUT_SECONDS,
    TRIAL_ATTRIBUTE,
    Twin,
    insert_values,
    is_known_layout,
    make_tables,
    twins,
)
from tuner.trials.facts import stored_facts
from tuner.trials.outcomes import optuna_end

SWEEP_KINDS = ("budget_sweep", "cooldown", "instability_probe")
"""Phases whose rates are not the search space's."""


class Mirror:
    """Writes what Optuna's tables lack of one study."""

    def __init__(self, url: str, config: StudyConfig) -> None:
        self._url, self._config = url, config
        self._studies: dict[str, optuna.Study] = {}
        self._ids: dict[str, dict[int, int]] = {}
        self._ended: set[int] = set()

    def sync(self, record: StudyRecord) -> None:
        """Add every started trial that Optuna lacks, and end every ended one that still runs there.

        Optuna's ended trials cannot be changed: where a fit may still cut others short, they end with their phase. So
        does one that may yet be named collapsed.
        """
        try:
            self._sync(record)
        except BaseException:
            # What was cut short may be there or not: the next time looks.
            self._studies, self._ids, self._ended = {}, {}, set()
            raise

    def _sync(self, record: StudyRecord) -> None:
        facts = stored_facts(record)
        constant_loss = None if facts is None else facts.constant_loss
        for phase in record.phases:
            started = [trial for trial in phase.trials if trial.state != "waiting" and trial.trial not in self._ended]
            if started and self._is_outdated(phase, record=record):
                self._remove(phase, record.name)
                started = [trial for trial in phase.trials if trial.state != "waiting"]
            may_be_cut = phase.plan.stop_when_dominated and not phase.is_closed
            for trial in started:
                if trial.trial not in self._ids_of(phase, record.name):
                    self._add(phase, trial, record=record)
                may_be_named = not phase.is_closed and may_collapse(constant_loss, record, trial)
                if trial.is_ended and not may_be_cut and not may_be_named:
                    self._end(phase, trial, record=record)

    def follow(self, record: StudyRecord, *, warn: Callable[[str], None]) -> None:
        """`sync`; Optuna's tables are a view: no trouble with them may stop a study."""
        try:
            self.sync(record)
        except Exception as error:
            warn(f"Optuna's tables could not follow ({type(error).__name__}: {error}); they will at the next step")

    def close(self) -> None:
        """Release the connections."""
        if "_storage" in self.__dict__:
            self._storage.remove_session()
            self._storage.engine.dispose()

    @cached_property
    def _storage(self) -> RDBStorage:
        """Opened when there is something to mirror: making Optuna's tables takes a while."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        if not self._url.startswith("sqlite"):
            return RDBStorage(self._url)
        make_tables(self._url, BaseModel.metadata)
        return RDBStorage(self._url, engine_kwargs={"connect_args": {"timeout": TIMEOUT_SECONDS}})

    @cached_property
    def _is_known_layout(self) -> bool:
        return is_known_layout(self._storage.engine)

    def _study(self, phase: PhaseRecord, study: str) -> optuna.Study:
        name = f"{study}/{phase.name}"
        if name not in self._studies:
            failpoint("mirror_study.before")
            self._studies[name] = optuna.create_study(
                storage=self._storage, study_name=name, direction=phase.plan.eval.direction, load_if_exists=True
            )
            failpoint("mirror_study.after")
        return self._studies[name]

    def _ids_of(self, phase: PhaseRecord, study: str) -> dict[int, int]:
        """Our trial id -> Optuna's; read once, then kept, for nobody else writes."""
        name = f"{study}/{phase.name}"
        if name not in self._ids:
            known = self._twins(self._study(phase, study))
            self._ids[name] = {twin.trial: twin.optuna_id for twin in known}
            self._ended |= {twin.trial for twin in known if twin.is_finished}
        return self._ids[name]

    def _is_outdated(self, phase: PhaseRecord, *, record: StudyRecord) -> bool:
        """Whether a study was extended in a way that Optuna cannot follow: it changes no ended trial and no choices."""
        known = self._ids_of(phase, record.name)
        if any(trial.trial in self._ended and not trial.is_ended for trial in phase.trials):
            return True
        if not known or phase.plan.kind in SWEEP_KINDS or not is_extended(record):
            return False
        space = space_of(self._config, record.decisions)
        return any(
            (choices := space[label].choices) is not None and trial.params.get(name) not in choices
            for trial in phase.trials
            if trial.state != "waiting" and trial.trial not in known
            for name, label in at_point(space, trial.params).items()
        )

    def _remove(self, phase: PhaseRecord, study: str) -> None:
        """Drop a phase from Optuna's tables, to be mirrored anew."""
        name = f"{study}/{phase.name}"
        optuna.delete_study(study_name=name, storage=self._storage)
        self._ended -= self._ids.pop(name).keys()
        del self._studies[name]

    def _twins(self, study: optuna.Study) -> list[Twin]:
        if self._is_known_layout:
            with self._storage.engine.connect() as connection:
                return twins(connection, study.study_name)
        return [
            Twin(one.user_attrs[TRIAL_ATTRIBUTE], one._trial_id, one.state.is_finished())
            for one in study.get_trials(deepcopy=False)
            if TRIAL_ATTRIBUTE in one.user_attrs
        ]

    def _add(self, phase: PhaseRecord, trial: TrialRecord, *, record: StudyRecord) -> None:
        space = {} if phase.plan.kind in SWEEP_KINDS else space_of(self._config, record.decisions)
        labels = at_point(space, trial.params)
        template = create_trial(
            state=TrialState.RUNNING,
            params={labels.get(name, name): value for name, value in trial.params.items()},
            distributions=self._distributions(phase, trial, labels=labels, space=space),
            user_attrs={
                TRIAL_ATTRIBUTE: trial.trial,
                "max_train_steps": trial.spec.max_train_steps,
                "seed": trial.spec.seed,
            },
        )
        failpoint("mirror_add.before")
        added = self._storage.create_new_trial(self._study(phase, record.name)._study_id, template_trial=template)
        failpoint("mirror_add.after")
        self._ids_of(phase, record.name)[trial.trial] = added

    def _end(self, phase: PhaseRecord, trial: TrialRecord, *, record: StudyRecord) -> None:
        if trial.trial in self._ended:
            return
        storage, optuna_id = self._storage, self._ids_of(phase, record.name)[trial.trial]
        known = storage.get_trial(optuna_id).intermediate_values
        curve = record.curve(trial.trial, VALIDATION, phase.plan.eval.metric)
        missing = [point for point in curve if point[0] not in known]
        if self._is_known_layout:
            insert_values(storage.engine, optuna_id, missing)
        else:
            for step, measured in missing:
                storage.set_trial_intermediate_value(optuna_id, step, measured)
        for key, attribute in (
            ("outcome", _outcome(trial)),
            ("best_step", trial.best_step),
            ("last_step", trial.last_step),
        ):
            storage.set_trial_user_attr(optuna_id, key, attribute)
        end = optuna_end(trial)
        # As `Study.tell` does, which reads the whole curve twice: a pruned trial has its last value, where it has one.
        told = curve[-1][1] if end.state is TrialState.PRUNED and curve else end.value
        failpoint("mirror_tell.before")
        storage.set_trial_state_values(optuna_id, end.state, None if told is None else [told])
        failpoint("mirror_tell.after")
        self._ended.add(trial.trial)

    def _distributions(
        self, phase: PhaseRecord, trial: TrialRecord, *, labels: Mapping[str, str], space: Mapping[str, Dimension]
    ) -> dict[str, BaseDistribution]:
        """By label: Optuna refuses two distributions under one name."""
        rates = self._config.budget_sweep.learning_rates
        sweep = Dimension(low=rates.low, high=rates.high, scale="log")
        found = {}
        for name, value in trial.params.items():
            label = labels.get(name, name)
            dimension = space.get(label, sweep)
            if dimension.choices is None:
                found[label] = _range(dimension, value)
                continue
            # A lower-rate twin may stand beside the choices; within one study they are the same for every trial.
            strange = [other.params for other in phase.trials if other.params.get(name) not in dimension.choices]
            alike = [point for point in strange if at_point(space, point).get(name, name) == label]
            others = [point[name] for point in alike if point.get(name) is not None]
            found[label] = CategoricalDistribution([*dimension.choices, *dict.fromkeys(others)])
        return found


def _range(dimension: Dimension, value: Value) -> BaseDistribution:
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
