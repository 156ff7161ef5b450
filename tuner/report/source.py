"""What a report is made from: one study as stored, its config, its bill. Derived once, used by all sections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuner.config.schema import Dimension, StudyConfig
from tuner.protocol.joined import joined
from tuner.protocol.replicas import known_seed_deviation, replicas, value_of
from tuner.protocol.space import space_of
from tuner.records import Answer, PhaseRecord, StudyRecord, TrialRecord
from tuner.report.distribution import BestSteps, best_steps, judged_rounds
from tuner.report.so_far import answer_so_far
from tuner.report.wording import Lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A study with everything that its report needs. `decision_times` are in the order of the decisions, or empty."""

    study: StudyRecord
    config: StudyConfig
    bill: dict[str, Any]
    command: str
    decision_times: tuple[str, ...]

    @property
    def sweep(self) -> PhaseRecord | None:
        return next((phase for phase in self.study.phases if phase.plan.kind == "budget_sweep"), None)

    @property
    def rounds(self) -> tuple[PhaseRecord, ...]:
        """The phases whose budgets are judged: no sweep, no probe, no tuning of the decay."""
        return judged_rounds(self.study)

    @property
    def space(self) -> Mapping[str, Dimension]:
        """The search space that binds, as decided where it was left to the study."""
        return space_of(self.config, self.study.decisions)

    def lengths(self) -> Lengths:
        return Lengths.of(self.study)

    def best_steps(self) -> tuple[BestSteps, ...]:
        return best_steps(self.config, self.study)

    def so_far(self) -> Answer | None:
        """The answer, or what it would be if the study ended now."""
        return answer_so_far(self.study)

    def best_trial(self) -> TrialRecord | None:
        """The trial that the report is about: the answer's, or the best so far."""
        found = self.so_far()
        if found is None:
            return None
        return next((trial for trial in self.study.trials() if trial.trial == found.best_trial), None)

    def seed_deviation(self) -> float | None:
        """Pooled over the points of all rounds that were replicated; None while nothing was."""
        return known_seed_deviation(joined(self.study))


def values_by_point(phase: PhaseRecord) -> dict[str, list[float]]:
    """Best values of a phase's feasible trials by point: one value per seed."""
    return {point: [value_of(trial) for trial in trials] for point, trials in replicas(phase).items()}
