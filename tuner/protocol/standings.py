"""The sweep's rates as they stand once one of them has fitted, whatever order they were trained in.

The answer of the sweep is s*, the first step at which any rate fitted. With the exact stop a rate is looked at up to
s* only: what it did beyond depends on who ran when, and is cut away before anything is decided (PROTOCOL 2, item 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuner.analysis.steps_to_fit import steps_to_fit, truncate
from tuner.protocol.runs import number_in
from tuner.records import TRAIN_SAMPLE, Curve, FitRule, Outcome, PhasePlan, PhaseRecord, StudyRecord, TrialRecord

FITTED = Outcome("complete", "fitted")
DOMINATED = Outcome("stopped", "dominated")
DROPPED = Outcome("stopped", "dropped")

Edge = Literal["lower", "upper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One rate: its outcome and its curve of the fit metric on the training sample, cut at s* under the exact stop."""

    trial: TrialRecord
    learning_rate: float
    outcome: Outcome
    curve: Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """All rates of a sweep in which one fitted. `tied` are those that fitted at s*, the winner first."""

    fastest_step: int
    everyone: tuple[Standing, ...]
    tied: tuple[Standing, ...]

    @property
    def fastest(self) -> Standing:
        return self.tied[0]

    @property
    def edge(self) -> Edge | None:
        """The edge of the grid that the fastest rate lies on; None if it, or a rate tied with it, is interior.

        A crashed rate is missing: it proves nothing. An infeasible one closes the grid on its side (PROTOCOL 2).
        """
        rates = [standing.learning_rate for standing in self.everyone if standing.outcome.kind != "crashed"]
        if any(min(rates) < standing.learning_rate < max(rates) for standing in self.tied):
            return None
        return "upper" if self.fastest.learning_rate == max(rates) else "lower"


def standings(study: StudyRecord, phase: PhaseRecord, fit: FitRule) -> Standings | None:
    """How the rates of a sweep stand; None while none has fitted."""
    fitted = [trial.last_step for trial in phase.trials if trial.outcome == FITTED]
    if not fitted:
        return None
    fastest_step, exact = min(fitted), phase.plan.stop_when_dominated
    everyone = tuple(
        Standing(
            trial=trial,
            learning_rate=learning_rate_of(trial),
            outcome=_outcome(trial, fastest_step, exact=exact),
            curve=truncate(fit_curve(study, trial, fit), fastest_step if exact else None),
        )
        for trial in phase.trials
    )
    tied = [s for s in everyone if s.outcome == FITTED and s.trial.last_step == fastest_step]
    return Standings(fastest_step=fastest_step, everyone=everyone, tied=tuple(sorted(tied, key=_tie_key)))


def learning_rate_of(trial: TrialRecord) -> float:
    """The constant rate of a sweep trial."""
    return number_in(trial.params, "learning_rate", trial.spec.learning_rate)


def watched(plan: PhasePlan) -> str:
    """The metric on the training sample that a sweep looks at: that of its threshold, else the loss."""
    return "loss" if plan.fit is None else plan.fit.metric


def train_curve(study: StudyRecord, trial: TrialRecord, metric: str) -> Curve:
    """A trial's curve of a metric on the training sample."""
    return study.curve(trial.trial, TRAIN_SAMPLE, metric)


def fit_curve(study: StudyRecord, trial: TrialRecord, fit: FitRule) -> Curve:
    """A trial's curve of the fit metric on the training sample."""
    return train_curve(study, trial, fit.metric)


def fastest_at(everyone: Sequence[Standing], at_most: float) -> tuple[int, float] | None:
    """Steps and rate of the fastest to another threshold, as far as the curves tell."""
    reached = [
        (num_steps, standing.trial.number, standing.learning_rate)
        for standing in everyone
        if (num_steps := steps_to_fit(standing.curve, at_most)) is not None
    ]
    return (min(reached)[0], min(reached)[2]) if reached else None


def _outcome(trial: TrialRecord, fastest_step: int, *, exact: bool) -> Outcome:
    if trial.outcome is None:
        return DOMINATED if trial.last_step >= fastest_step else DROPPED
    # What ended a rate beyond s* would not have happened, had the winner been trained first.
    # A crash comes after the last step measured, a verdict of infeasible at it.
    ended_at = trial.last_step + (trial.outcome.kind == "crashed")
    if exact and ended_at > fastest_step:
        return DOMINATED
    return trial.outcome


def _tie_key(standing: Standing) -> tuple[float, int]:
    value = standing.curve[-1][1] if standing.curve else float("inf")
    return value, standing.trial.number
