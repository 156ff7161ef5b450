"""How numbers, points and lengths read in tables, pages and terminals: one spelling everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tuner.records import Decision, Params, StudyRecord, TrialRecord, Value

DECIDING_KINDS = (
    "workload_kind",
    "production",
    "cut",
    "out_of_time",
    "budget",
    "collapsed",
    "instability_probe",
    "instability",
    "widened",
    "verdict",
    "adjusted",
    "decay",
    "carried_over",
    "round_skipped",
    "frontier",
    "answer",
    "gave_up",
)


def number(value: float) -> str:
    """Five significant digits, without exponents where they are not needed."""
    return f"{value:.5g}"


def value_text(value: Value) -> str:
    """One hyperparameter's value: four significant digits for floats."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def params_text(params: Params) -> str:
    """A point of the search space on one line."""
    return ", ".join(f"{name}={value_text(value)}" for name, value in params.items()) or "the fixed settings"


def outcome_text(trial: TrialRecord) -> str:
    """The outcome with its reason, or the state of a trial that has none yet."""
    if trial.outcome is None:
        return trial.state
    return f"{trial.outcome.kind} ({trial.outcome.reason})" if trial.outcome.reason else trial.outcome.kind


@dataclass(frozen=True, slots=True)
class Lengths:
    """Turns updates into epochs where the size of the training set is known."""

    steps_per_epoch: float | None

    @classmethod
    def of(cls, study: StudyRecord) -> Self:
        """From the study's first decision, which holds the facts of the data."""
        facts = first_decision(study, "facts")
        trials = study.trials()
        examples = facts.numbers.get("num_train_examples") if facts else None
        if not examples or not trials:
            return cls(None)
        return cls(examples / trials[0].spec.global_batch_size)

    def epochs(self, steps: int) -> float | None:
        return None if self.steps_per_epoch is None else steps / self.steps_per_epoch

    def text(self, steps: int) -> str:
        """`1,700 updates (13.6 epochs)`."""
        epochs = self.epochs(steps)
        return f"{steps:,} updates" if epochs is None else f"{steps:,} updates ({epochs:,.3g} epochs)"


def first_decision(study: StudyRecord, kind: str) -> Decision | None:
    """The earliest decision of a kind."""
    return next((decision for decision in study.decisions if decision.kind == kind), None)


def reasons(study: StudyRecord) -> list[str]:
    """Why the study ended as it did: the deciding decisions in order, then the reason of the end."""
    told = [decision.reason for decision in study.decisions if decision.kind in DECIDING_KINDS]
    if study.reason and study.reason not in told:
        told.append(study.reason)
    return told
