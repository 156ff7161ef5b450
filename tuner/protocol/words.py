"""Numbers as the protocol's sentences spell them, and the numbers of a decision made safe for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from tuner.records import Json, Params, TrialRecord, WorkloadFacts


def number(value: float) -> str:
    """A measured value or a rate, to four digits."""
    return f"{value:.4g}"


def steps(count: int) -> str:
    """A number of steps.

    >>> steps(1500), steps(1)
    ('1,500 steps', '1 step')
    """
    return "1 step" if count == 1 else f"{count:,} steps"


def trials(count: int) -> str:
    """A number of trials."""
    return "1 trial" if count == 1 else f"{count:,} trials"


def epochs(num_steps: int, global_batch_size: int, facts: WorkloadFacts) -> str:
    """Steps told in passes over the training set."""
    if facts.num_train_examples <= 0:
        return "unknown epochs"
    return f"{num_steps * global_batch_size / facts.num_train_examples:.3g} epochs"


def point(params: Params) -> str:
    """A point of the search space, as the user would write it."""
    return (
        ", ".join(f"{name}={number(v) if isinstance(v, float) else v}" for name, v in params.items()) or "no settings"
    )


def crash_reasons(trials: tuple[TrialRecord, ...]) -> str:
    """The reasons of crashed trials, each once; empty if none crashed."""
    reasons = (t.outcome.reason or "unknown" for t in trials if t.outcome is not None and t.outcome.kind == "crashed")
    return ", ".join(dict.fromkeys(reasons))


def why_no_weights(trial: TrialRecord) -> str:
    """Why no weights of a trial's best step were kept."""
    if trial.phase == "budget_sweep":
        return "the sweep keeps no best weights"
    fork = trial.forked_from
    if fork is not None and trial.best_step is not None and trial.best_step <= fork.step:
        return (
            f"it lies in the past shared with trial {fork.trial}, which kept at most those of its own best step; "
            "with --no-sharing a study under another name keeps them"
        )
    return "or not yet, while it runs"


def json_safe(value: Json) -> Json:
    """The same data with lists for tuples and null for what JSON cannot hold."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value
